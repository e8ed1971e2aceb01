#!/usr/bin/env python3
"""bucket_object.py COMMAND ARGUMENT...: one request of boto3 to the bucket $BUCKET at AWS_ENDPOINT_URL.

    put KEY TEXT [TAG=VALUE]...   puts an object
    tag KEY [TAG=VALUE]...        sets its tags
    tags KEY                      prints them, one a line, in order
    rm KEY                        removes it
    head KEY FIELD                prints a field of the answer to a HEAD (VersionId, StorageClass, ETag)
    versions KEY                  prints the bytes of each version, the newest first
    cat KEY                       prints its bytes
    tag-bucket [TAG=VALUE]...     sets the tags of the bucket
"""
import os
import sys

import boto3
from botocore.config import Config

s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1",
                  config=Config(s3={"addressing_style": "path"}, proxies={}))
bucket = os.environ["BUCKET"]


def pairs(texts):
    return [{"Key": k, "Value": v} for k, _, v in (text.partition("=") for text in texts)]


def put(key, text, *tags):
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
    if tags:
        tag(key, *tags)


def tag(key, *tags):
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": pairs(tags)})


def tag_bucket(*tags):
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": pairs(tags)})


def tags(key):
    found = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    print("\n".join(sorted(f"{t['Key']}={t['Value']}" for t in found)))


def rm(key):
    s3.delete_object(Bucket=bucket, Key=key)


def head(key, field):
    print(s3.head_object(Bucket=bucket, Key=key).get(field, ""))


def versions(key):
    listed = s3.list_object_versions(Bucket=bucket, Prefix=key)
    for version in listed.get("Versions", []):
        if version["Key"] == key:
            got = s3.get_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
            print(got["Body"].read().decode())


def cat(key):
    sys.stdout.write(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())


commands = (put, tag, tag_bucket, tags, rm, head, versions, cat)
{f.__name__.replace("_", "-"): f for f in commands}[sys.argv[1]](*sys.argv[2:])
