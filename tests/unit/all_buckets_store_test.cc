#include "s3/all_buckets_store.h"

#include <doctest/doctest.h>

#include <future>
#include <set>

#include "s3/s3_buckets.h"
#include "tests/support/fake_bucket.h"
#include "tests/support/memory_buckets.h"

using namespace cairn;
using namespace cairn::test;

namespace {

struct Account {
  Account() {
    for (const char* name : {"a", "a-b", "b"}) buckets->make(name);
  }
  Result<std::string> put(const std::string& key, const std::string& bytes) {
    return put_sync(store, key, Body(Buffer::copy(bytes)), {}, Context());
  }
  std::string bytes(const std::string& key) {
    const auto got = get_sync(store, key, GetRange::all(), Context());
    return got ? to_string(got->bytes) : "none";
  }
  ThreadExecutor executor{"io", 2};
  std::shared_ptr<MemoryBuckets> buckets = std::make_shared<MemoryBuckets>(executor);
  AllBucketsStore store{buckets, executor};
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("all buckets: they are one level, in the order of keys") {
  Account w;
  const auto page = list_sync(w.store, ListScope::level(""), "", 1000, Context());
  REQUIRE(page);
  CHECK(page->prefixes == Names{"a-b/", "a/", "b/"});
  CHECK(page->objects.empty());
  CHECK_FALSE(page->truncated);
  CHECK(list_sync(w.store, ListScope::level("a"), "", 1000, Context())->prefixes ==
        Names{"a-b/", "a/"});
  // Page by page, of one list.
  const uint64_t before = w.buckets->lists();
  Names seen;
  std::string after;
  for (bool more = true; more;) {
    const auto one = list_sync(w.store, ListScope::level(""), after, 1, Context());
    REQUIRE(one);
    seen.insert(seen.end(), one->prefixes.begin(), one->prefixes.end());
    more = one->truncated;
    after = one->next;
  }
  CHECK(seen == page->prefixes);
  CHECK(w.buckets->lists() == before + 1);
  w.buckets->make("new");
  CHECK(list_sync(w.store, ListScope::level(""), "", 1000, Context())->prefixes.back() == "new/");
  CHECK(list_sync(w.store, ListScope(""), "", 1000, Context()).error().code() ==
        Errc::kUnsupported);
}

TEST_CASE("all buckets: a level goes on where it ended, also below a bucket's own name") {
  Account w;
  for (const char* key : {"a/a/1", "a/a/2", "a/a/d/x", "a/a/z", "a/b"}) REQUIRE(w.put(key, "x"));
  Names seen;
  std::string after;
  for (bool more = true; more;) {
    REQUIRE(seen.size() < 10);
    const auto page = list_sync(w.store, ListScope::level("a/a/"), after, 1, Context());
    REQUIRE(page);
    for (const ObjectInfo& object : page->objects) seen.push_back(object.key);
    seen.insert(seen.end(), page->prefixes.begin(), page->prefixes.end());
    after = page->next;
    more = page->truncated;
  }
  CHECK(seen == Names{"a/a/1", "a/a/2", "a/a/d/", "a/a/z"});
  const auto rest =
      list_sync(w.store, ListScope::level("a/a/"), level_behind_prefix("a/a/d/"), 9, Context());
  REQUIRE(rest);
  REQUIRE(rest->objects.size() == 1);
  CHECK(rest->objects[0].key == "a/a/z");
}

TEST_CASE("all buckets: what follows the bucket's name is the key in it") {
  Account w;
  REQUIRE(w.put("a/dir/x", "of a"));
  REQUIRE(w.put("b/dir/x", "of b"));
  REQUIRE(w.put("a/top", "top"));
  CHECK(w.bytes("a/dir/x") == "of a");
  CHECK(w.bytes("b/dir/x") == "of b");
  CHECK(to_string(get_sync(w.buckets->make("b"), "dir/x", GetRange::all(), Context())->bytes) ==
        "of b");
  CHECK(head_sync(w.store, "a/top", Context())->info.key == "a/top");
  const auto level = list_sync(w.store, ListScope::level("a/"), "", 1000, Context());
  REQUIRE(level);
  CHECK(level->prefixes == Names{"a/dir/"});
  REQUIRE(level->objects.size() == 1);
  CHECK(level->objects[0].key == "a/top");
  const auto flat = list_sync(w.store, ListScope("a/"), "a/dir/x", 1000, Context());
  REQUIRE(flat);
  REQUIRE(flat->objects.size() == 1);
  CHECK(flat->objects[0].key == "a/top");
  REQUIRE(remove_sync(w.store, "a/dir/x", Context()));
  CHECK(w.bytes("a/dir/x") == "none");
  CHECK(w.bytes("b/dir/x") == "of b");
  // The length of a key is that in its bucket.
  const std::string longest = "a/" + std::string(1024, 'k');
  REQUIRE(w.put(longest, "long"));
  CHECK(w.bytes(longest) == "long");
  CHECK(w.put(longest + "k", "").error().code() == Errc::kInvalid);
  // And no bucket is an object.
  for (const char* key : {"a", "a/", "new/", "/a"}) {
    CAPTURE(key);
    CHECK(w.put(key, "x").error().code() == Errc::kInvalid);
    CHECK(remove_sync(w.store, key, Context()).error().code() == Errc::kInvalid);
    CHECK(head_sync(w.store, key, Context()).error().code() == Errc::kNotFound);
  }
  CHECK(w.put("new/x", "x").error().code() == Errc::kPermission);
}

TEST_CASE("all buckets: ranges of objects stay in their bucket") {
  Account w;
  const std::string large(static_cast<size_t>(Body::kCopyBytesMin) + 100, 'l');
  const auto etag = w.put("a/from", large);
  REQUIRE(etag);
  const std::string target = "a/" + std::string(1024, 't');
  Body copy;
  copy.add(ObjectRange{"a/from", *etag, large.size(), {0, large.size()}});
  copy.add(Buffer::copy("more"));
  REQUIRE(put_sync(w.store, target, copy, {}, Context()));
  CHECK(w.bytes(target) == large + "more");
  CHECK(put_sync(w.store, "b/to", copy, {}, Context()).error().code() == Errc::kInvalid);
  CHECK(w.bytes("b/to") == "none");
}

TEST_CASE("all buckets: the first put to each is told once, also of those before") {
  Account w;
  std::mutex mutex;
  std::multiset<std::string> told;
  REQUIRE(w.put("a/1", "x"));
  w.store.on_first_put([&](const std::string& bucket) {
    const std::lock_guard lock(mutex);
    told.insert(bucket);
  });
  REQUIRE(w.put("a/2", "x"));
  REQUIRE(w.put("b/1", "x"));
  REQUIRE(w.put("b/2", "x"));
  CHECK(w.bytes("a-b/1") == "none");
  w.executor.stop();
  CHECK(told == std::multiset<std::string>{"a", "b"});
}

namespace {

std::string listing(const std::string& inside) {
  return "<ListAllMyBucketsResult><Owner><ID>1</ID></Owner><Buckets>" + inside +
         "</Buckets></ListAllMyBucketsResult>";
}
std::string bucket_entry(const std::string& name, const std::string& region = "") {
  return "<Bucket><Name>" + name + "</Name><CreationDate>2026-11-22T20:47:07.000Z</CreationDate>" +
         (region.empty() ? "" : "<BucketRegion>" + region + "</BucketRegion>") + "</Bucket>";
}

struct Service {
  explicit Service(FakeHttp::Answer answer, S3Settings settings = {}) {
    http = std::make_shared<FakeHttp>(executor, std::move(answer));
    auto made =
        S3Buckets::make(std::move(settings),
                        {http, std::make_shared<RotatingKeys>(executor, 1), executor, clock, *rng});
    REQUIRE_MESSAGE(made, made.error().message());
    buckets = *std::move(made);
  }
  Result<Names> list() {
    std::promise<Result<Names>> names;
    buckets->list(Bucket::context(), [&](Result<Names> got) { names.set_value(std::move(got)); });
    return names.get_future().get();
  }
  ThreadExecutor executor{"io", 2};
  FixedDate clock;
  std::unique_ptr<Rng> rng = make_seeded_rng(1);
  std::shared_ptr<FakeHttp> http;
  std::shared_ptr<S3Buckets> buckets;
};

}  // namespace

TEST_CASE("s3 buckets: listed page by page, each asked in its region") {
  Service service([](const Sent& sent) {
    if (sent.url.find("continuation-token=t%2B1") != std::string::npos)
      return reply(200, listing(bucket_entry("second") + bucket_entry("..")));
    if (sent.url.find("max-buckets") == std::string::npos) return reply(200, "x", {{"ETag", "e"}});
    return reply(200, "<ListAllMyBucketsResult><Buckets>" + bucket_entry("first", "eu-west-1") +
                          "</Buckets><ContinuationToken>t+1</ContinuationToken>"
                          "</ListAllMyBucketsResult>");
  });
  const auto names = service.list();
  REQUIRE_MESSAGE(names, names.error().message());
  CHECK(*names == Names{"first", "second"});
  CHECK(service.http->sent().at(0).url == "https://s3.us-east-1.amazonaws.com/?max-buckets=1000");
  CHECK_FALSE(service.http->sent().at(0).header("authorization").empty());
  for (const char* name : {"first", "second"}) {
    const auto store = service.buckets->open(name);
    REQUIRE(store);
    REQUIRE(get_sync(**store, "k", GetRange::all(), Bucket::context()));
  }
  CHECK(service.http->sent().at(2).url == "https://first.s3.eu-west-1.amazonaws.com/k");
  CHECK(service.http->sent().at(3).url == "https://second.s3.us-east-1.amazonaws.com/k");
  CHECK(service.buckets->open("first").value() == service.buckets->open("first").value());
  CHECK(service.buckets->open("a/b").error().code() == Errc::kInvalid);
}

TEST_CASE("s3 buckets: what is no list of buckets") {
  S3Settings settings;
  settings.endpoint_url = "http://store.test:9000/s3";
  Service refused(always(error_reply(403, "AccessDenied")), settings);
  CHECK(has(refused.list().error().message(), "s3:ListAllMyBuckets"));
  CHECK(refused.http->sent().at(0).url == "http://store.test:9000/s3?max-buckets=1000");
  CHECK(refused.buckets->check_access_sync(Bucket::context()).error().code() == Errc::kPermission);
  Service other(always(reply(200, "<html/>")), settings);
  CHECK(has(other.buckets->check_access_sync(Bucket::context()).error().message(),
            "check --endpoint-url"));
  Service endless(always(reply(200, "<ListAllMyBucketsResult><Buckets>" + bucket_entry("b") +
                                        "</Buckets><ContinuationToken>t</ContinuationToken>"
                                        "</ListAllMyBucketsResult>")),
                  settings);
  CHECK(has(endless.list().error().message(), "does not come to an end"));
  Service empty(always(reply(200, listing(""))), settings);
  CHECK(empty.list().value().empty());
  Service nameless(always(reply(200, listing("<Bucket></Bucket>"))), settings);
  CHECK(nameless.list().error().code() == Errc::kIo);
}
