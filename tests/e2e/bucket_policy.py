#!/usr/bin/env python3
"""bucket_policy.py BUCKET ACTION...: lets everybody do these on the bucket at AWS_ENDPOINT_URL.

Signs by itself: the curl of Debian 12 cannot sign a request whose query has no value.
"""
import datetime
import hashlib
import hmac
import json
import os
import sys
import urllib.parse
import urllib.request

bucket, actions = sys.argv[1], sys.argv[2:]
policy = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": actions,
    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}
body = json.dumps(policy).encode()
url = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
scope = f"{now[:8]}/us-east-1/s3/aws4_request"
headers = {"host": url.netloc, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": now}
names = ";".join(sorted(headers))
canonical = "\n".join(["PUT", f"/{bucket}", "policy=", *(f"{n}:{headers[n]}" for n in sorted(headers)), "",
                       names, headers["x-amz-content-sha256"]])
to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
for part in scope.split("/") + [to_sign]:
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                            f"SignedHeaders={names}, Signature={key.hex()}")
request = urllib.request.Request(f"{url.geturl()}/{bucket}?policy=", body, headers, method="PUT")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
opener.open(request, timeout=20)
