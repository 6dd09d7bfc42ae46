"""The version of the project, for every process that says it."""

VERSION = "0.1.0"
