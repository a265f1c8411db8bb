# SPDX-License-Identifier: Apache-2.0
"""Cinder's HTTP interface. What it refuses is ``requests.HTTPError``, with its status."""

import time
import uuid

import requests

LIMIT = 180
# The services do nothing else meanwhile that a test would wait for.
_POLL = 0.1
# Without keystone a token names its user and project.
_HEADERS = {"X-Auth-Token": "admin:admin", "OpenStack-API-Version": "volume 3.70"}
_BUSY = {
    *("creating", "deleting", "downloading", "uploading", "extending", "reverting", "retyping"),
    *("attaching", "detaching", "restoring", "backing-up", "restoring-backup", "managing"),
    *("queued", "maintenance", "unmanaging"),
}


class Failed(Exception):
    """Something that was asked for ended in an error."""


class Client:
    def __init__(self, url):
        self._url = f"{url}/v3"

    # Services, types

    def services_up(self):
        found = self._call("GET", "/os-services")["services"]
        return [service["host"] for service in found if service["state"] == "up"]

    def pools(self):
        found = self._call("GET", "/scheduler-stats/get_pools?detail=true")["pools"]
        return {pool["name"]: pool["capabilities"] for pool in found}

    def create_type(self, name, backend, **extra_specs):
        """A type whose volumes are in a backend."""
        specs = {"volume_backend_name": backend, **extra_specs}
        body = {"volume_type": {"name": name, "extra_specs": specs}}
        return self._call("POST", "/types", json=body)["volume_type"]["id"]

    def limit_type(self, type_id, **specs):
        """Have a type's volumes limited by the cluster."""
        body = {"qos_specs": {"name": uuid.uuid4().hex, "consumer": "back-end", **specs}}
        made = self._call("POST", "/qos-specs", json=body)["qos_specs"]["id"]
        self._call("GET", f"/qos-specs/{made}/associate?vol_type_id={type_id}")

    # Volumes

    def create(self, size, **how):
        """Make a volume: empty, or of ``snapshot_id``, ``source_volid`` or ``imageRef``."""
        return self.settled("volumes", self.begin(size, **how)["id"])

    def begin(self, size, **how):
        """Only ask for it."""
        return self._call("POST", "/volumes", json={"volume": {"size": size, **how}})["volume"]

    def show(self, volume_id):
        return self._call("GET", f"/volumes/{volume_id}")["volume"]

    def list(self):
        """All volumes, by id."""
        found = self._call("GET", "/volumes/detail?all_tenants=1")["volumes"]
        return {volume["id"]: volume for volume in found}

    def delete(self, volume_id):
        self.begin_delete(volume_id)
        self.gone("volumes", volume_id)

    def give_up(self, volume_id):
        """Have what nobody is at any more count as failed, as an operator does; return its status.

        None: there is no such volume.
        """
        found = self.list().get(volume_id)
        if found is not None and found["status"] in _BUSY:
            self.act(volume_id, "os-reset_status", status="error")
            return "error"
        return found and found["status"]

    def begin_delete(self, volume_id):
        self._call("DELETE", f"/volumes/{volume_id}")

    def extend(self, volume_id, size):
        self.act(volume_id, "os-extend", new_size=size)
        return self.settled("volumes", volume_id)

    def revert(self, volume_id, snapshot_id):
        self.act(volume_id, "revert", snapshot_id=snapshot_id)
        return self.settled("volumes", volume_id)

    def retype(self, volume_id, new_type, policy="never"):
        self.act(volume_id, "os-retype", new_type=new_type, migration_policy=policy)
        return self.settled("volumes", volume_id)

    def migrate(self, volume_id, host):
        self.act(volume_id, "os-migrate_volume", host=host, force_host_copy=False)
        end = time.monotonic() + LIMIT
        while (found := self.show(volume_id))["migration_status"] not in ("success", "error"):
            if time.monotonic() > end:
                raise Failed(f"volume {volume_id} is still {found['migration_status']}")
            time.sleep(_POLL)
        if found["migration_status"] == "error":
            raise Failed(f"volume {volume_id} was not migrated")
        return self.settled("volumes", volume_id)

    def upload(self, volume_id, disk_format="raw"):
        """Make an image of a volume; return its id."""
        answer = self.act(
            volume_id,
            "os-volume_upload_image",
            image_name="from a volume",
            disk_format=disk_format,
            container_format="bare",
            force=True,
        )
        self.settled("volumes", volume_id)
        return answer["os-volume_upload_image"]["image_id"]

    def reimage(self, volume_id, image_id):
        """Fill a volume anew."""
        self.act(volume_id, "os-reimage", image_id=image_id, reimage_reserved=False)
        return self.settled("volumes", volume_id)

    def act(self, volume_id, action, **arguments):
        return self._call("POST", f"/volumes/{volume_id}/action", json={action: arguments})

    # What others made

    def manageable(self, host, kind="volumes"):
        """What could be taken over, by name."""
        wanted = {"host": host, "limit": 1000}
        found = self._call("GET", f"/manageable_{kind}/detail", params=wanted)
        return {entry["reference"]["source-name"]: entry for entry in found[f"manageable-{kind}"]}

    def manage(self, host, name, **how):
        body = {"volume": {"host": host, "ref": {"source-name": name}, **how}}
        made = self._call("POST", "/manageable_volumes", json=body)["volume"]
        return self.settled("volumes", made["id"])

    def manage_snapshot(self, volume_id, name):
        body = {"snapshot": {"volume_id": volume_id, "ref": {"source-name": name}}}
        made = self._call("POST", "/manageable_snapshots", json=body)["snapshot"]
        return self.settled("snapshots", made["id"])

    def unmanage(self, volume_id):
        self.act(volume_id, "os-unmanage")
        self.gone("volumes", volume_id)

    # Snapshots, attachments, backups

    def create_snapshot(self, volume_id):
        body = {"snapshot": {"volume_id": volume_id, "force": True}}
        made = self._call("POST", "/snapshots", json=body)["snapshot"]
        return self.settled("snapshots", made["id"])

    def delete_snapshot(self, snapshot_id):
        self._call("DELETE", f"/snapshots/{snapshot_id}")
        self.gone("snapshots", snapshot_id)

    def attach(self, volume_id):
        """Have a volume in use by an instance; return the attachment."""
        connector = {"host": "compute", "ip": "127.0.0.1", "initiator": None, "multipath": False}
        body = {
            "attachment": {
                "volume_uuid": volume_id,
                "instance_uuid": str(uuid.uuid4()),
                "connector": connector,
            }
        }
        made = self._call("POST", "/attachments", json=body)["attachment"]
        self._call("POST", f"/attachments/{made['id']}/action", json={"os-complete": {}})
        return made

    def detach(self, attachment_id):
        # Nova, which would be asked otherwise, is not here.
        self._call(
            "DELETE", f"/attachments/{attachment_id}", headers={"X-Service-Roles": "service"}
        )

    def create_backup(self, volume_id, **how):
        body = {"backup": {"volume_id": volume_id, "force": True, **how}}
        end = time.monotonic() + LIMIT
        while True:
            made = self._call("POST", "/backups", json=body)["backup"]
            self.ended("backups", made["id"])
            found = self._look("backups", made["id"])
            self.settled("volumes", volume_id)
            # The scheduler is told only every few seconds that the service is there.
            if "Service not found" not in (found["fail_reason"] or "") or time.monotonic() > end:
                return self.settled("backups", made["id"])
            self.delete_backup(made["id"])
            time.sleep(1)

    def restore(self, backup_id, volume_id):
        body = {"restore": {"volume_id": volume_id}}
        self._call("POST", f"/backups/{backup_id}/restore", json=body)
        self.settled("backups", backup_id)
        return self.settled("volumes", volume_id)

    def delete_backup(self, backup_id):
        self._call("DELETE", f"/backups/{backup_id}")
        self.gone("backups", backup_id)

    # Waiting

    def settled(self, kind, number):
        """Wait until what is being done to it is done; it must have gone well."""
        status = self.ended(kind, number)
        if status.startswith("error"):
            raise Failed(f"{kind[:-1]} {number} is in status {status}")
        return self._look(kind, number)

    def ended(self, kind, number):
        """The same, however it went; return its status."""
        end = time.monotonic() + LIMIT
        while (status := self._look(kind, number)["status"]) in _BUSY:
            if time.monotonic() > end:
                raise Failed(f"{kind[:-1]} {number} is still {status}")
            time.sleep(_POLL)
        return status

    def _look(self, kind, number):
        return self._call("GET", f"/{kind}/{number}")[kind[:-1]]

    def gone(self, kind, number):
        """Wait until there is no such thing any more."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                found = self._look(kind, number)
            except requests.HTTPError as error:
                if error.response.status_code == 404:
                    return
                raise
            if found["status"] not in ("deleting", "unmanaging"):
                raise Failed(f"{kind[:-1]} {number} is {found['status']} instead of gone")
            if time.monotonic() > end:
                raise Failed(f"{kind[:-1]} {number} is still there")
            time.sleep(_POLL)

    def _call(self, method, path, *, headers=None, **options):
        answer = requests.request(
            method, self._url + path, headers=_HEADERS | (headers or {}), timeout=LIMIT, **options
        )
        if not answer.ok:
            raise requests.HTTPError(
                f"{method} {path}: {answer.status_code} {answer.text}", response=answer
            )
        return answer.json() if answer.content else None
