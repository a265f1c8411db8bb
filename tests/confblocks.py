# SPDX-License-Identifier: Apache-2.0
"""The configurations that the documentation shows, held against the options that there are."""

import configparser

from rbdstore import loading, opts

# What belongs to the services, and not to this library: all that they need to load it.
OF_SERVICES = {
    "backup_driver": "cinder.conf [DEFAULT]: which class cinder-backup loads",
    "default_backend": "glance-api.conf [glance_store]: the name of a backend",
    "enabled_backends": "cinder.conf and glance-api.conf [DEFAULT]: backends, with their drivers",
    "volume_backend_name": "cinder.conf, a backend's section: what volume types name",
    "volume_driver": "cinder.conf, a backend's section: which class cinder-volume loads",
}


def known(section):
    """Every option of such a section by each name that an operator may give it."""
    return {
        name.replace("-", "_"): opt
        for group, options in loading.list_opts()
        for opt in options
        if (section == opts.GROUP) is (group == opts.GROUP)
        for name in (opt.dest, *(old.name for old in opt.deprecated_opts))
    }


def parsed(block):
    parser = configparser.ConfigParser(default_section="")
    parser.read_string(block.text)
    return parser


def check(block):
    """See that each option in a block exists, and that its value is one that it may have."""
    parser = parsed(block)
    for section in parser.sections():
        options = known(section)
        for name, value in parser[section].items():
            if name in options:
                options[name].type(value)
            else:
                assert name in OF_SERVICES, f"{block}: [{section}] {name} is no option"


def load(block, folder):
    """See that a whole configuration, one that names its backends, can be loaded."""
    parser = parsed(block)
    if not parser.has_option("rbdstore", "enabled_backends"):
        return
    path, conf = folder / "shown.conf", folder / "ceph.conf"
    conf.touch()
    text = block.text.replace("/etc/ceph/ceph.conf", str(conf))
    path.write_text(text.replace("/var/lib", str(folder)))
    backends = [backend.name for backend in loading.backends(str(path))]
    assert {*backends} == {*parser.sections()} - {"rbdstore"}
    for backend in backends:
        loading.load(str(path), backend).close()
