"""The integration demo: the product as in production, among the systems that it works with."""
