#!/usr/bin/env python3
"""put_setting.py PATH SETTING <BODY: sets what a bucket or an object has (policy, versioning, tagging, ...).

PATH is BUCKET or BUCKET/KEY at AWS_ENDPOINT_URL. Signs by itself: the curl of Debian 12 cannot sign a
request whose query has no value.
"""
import base64
import datetime
import hashlib
import hmac
import os
import sys
import urllib.parse
import urllib.request


def put_setting(path, setting, body):
    url = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
    path = "/" + urllib.parse.quote(path, safe="/-_.~")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    headers = {"host": url.netloc, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": now}
    names = ";".join(sorted(headers))
    canonical = "\n".join(["PUT", path, f"{setting}=", *(f"{n}:{headers[n]}" for n in sorted(headers)), "",
                           names, headers["x-amz-content-sha256"]])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/") + [to_sign]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                f"SignedHeaders={names}, Signature={key.hex()}")
    headers["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    request = urllib.request.Request(f"{url.geturl()}{path}?{setting}=", body, headers, method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)


if __name__ == "__main__":
    put_setting(sys.argv[1], sys.argv[2], sys.stdin.buffer.read())
