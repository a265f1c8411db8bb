# SPDX-License-Identifier: Apache-2.0
"""Glance's HTTP interface. What it refuses is ``requests.HTTPError``, with its status."""

import requests

LIMIT = 120


def refused(call, *args):
    """The status with which a call is refused, as it must be."""
    try:
        call(*args)
    except requests.HTTPError as error:
        return error.response.status_code
    raise AssertionError("it was not refused")


class Client:
    """May be used by several threads."""

    def __init__(self, url):
        self.url = url

    def answers(self):
        return requests.get(f"{self.url}/healthcheck", timeout=5).ok

    def create(self, name="image", *, disk_format="raw", container_format="bare", **properties):
        """Register an image, without its data; return its id."""
        body = {"name": name, "disk_format": disk_format, "container_format": container_format}
        return self._call("POST", "/v2/images", json=body | properties).json()["id"]

    def upload(self, image_id, data, store=None):
        """Give an image its data: bytes, whose size is told, or an iterable, sent in chunks."""
        headers = {"Content-Type": "application/octet-stream"}
        if store:
            headers["X-Image-Meta-Store"] = store
        self._call("PUT", f"/v2/images/{image_id}/file", data=data, headers=headers)

    def add(self, data, *, store=None, **properties):
        """Both; return its id."""
        image_id = self.create(**properties)
        self.upload(image_id, data, store)
        return image_id

    def show(self, image_id):
        return self._call("GET", f"/v2/images/{image_id}").json()

    def list(self):
        """All images, by id."""
        found = self._call("GET", "/v2/images?limit=1000").json()["images"]
        return {image["id"]: image for image in found}

    def download(self, image_id):
        return self._call("GET", f"/v2/images/{image_id}/file").content

    def download_range(self, image_id, wanted):
        """The answer to a request for a range, such as ``bytes=0-99``, whatever its status."""
        return requests.get(
            f"{self.url}/v2/images/{image_id}/file", headers={"Range": wanted}, timeout=LIMIT
        )

    def open(self, image_id):
        """An answer whose body is yet to be read, to be closed."""
        return self._call("GET", f"/v2/images/{image_id}/file", stream=True)

    def delete(self, image_id):
        self._call("DELETE", f"/v2/images/{image_id}")

    def stores(self):
        return self._call("GET", "/v2/info/stores").json()["stores"]

    def stores_detail(self):
        """The answer, whatever its status."""
        return requests.get(f"{self.url}/v2/info/stores/detail", timeout=LIMIT)

    def _call(self, method, path, **options):
        answer = requests.request(method, self.url + path, timeout=LIMIT, **options)
        if not answer.ok:
            raise requests.HTTPError(
                f"{method} {path}: {answer.status_code} {answer.text}", response=answer
            )
        return answer
