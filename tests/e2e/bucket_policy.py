#!/usr/bin/env python3
"""bucket_policy.py BUCKET ACTION...: lets everybody do these on the bucket at AWS_ENDPOINT_URL."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "s3"))
sys.dont_write_bytecode = True
from put_setting import put_setting  # noqa: E402

bucket, actions = sys.argv[1], sys.argv[2:]
policy = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": actions,
    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}
put_setting(bucket, "policy", json.dumps(policy).encode())
