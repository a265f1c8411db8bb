# SPDX-License-Identifier: Apache-2.0
import samples


def test_smoke(stock_glance, nothing_left):
    data = samples.pattern("smoke", 9 * samples.MiB)
    image = stock_glance.client.add(data)
    print(stock_glance.client.show(image))
    assert stock_glance.client.download(image) == data
    stock_glance.client.delete(image)
