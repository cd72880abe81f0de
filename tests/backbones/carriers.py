"""Installed packages that carry the pieces of one file, as a package index has a backbone in parts."""


def carry(site, names, content):
    """Lay one package for each of `names` (of the pieces) into `site`, an import folder; return the packages' names."""
    size = len(content) // len(names) + 1
    for number, name in enumerate(names):
        info, folder = site / f"part_{number}-1.dist-info", site / f"part-{number}"
        info.mkdir(parents=True)
        folder.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: part-{number}\nVersion: 1\n")
        (info / "RECORD").write_text(f"part-{number}/{name},,\n")
        (folder / name).write_bytes(content[number * size : (number + 1) * size])
    return [f"part-{number}" for number in range(len(names))]
