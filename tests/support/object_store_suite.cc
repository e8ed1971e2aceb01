#include "tests/support/object_store_suite.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include "cache/base/digest.h"
#include "cache/base/env.h"
#include "cache/base/random.h"
#include "s3/conditional_probe.h"
#include "tests/support/object_store_part.h"
#include "tests/support/temp_dir.h"

namespace cairn {

namespace {

using namespace suite;

std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i * 31 % 26);
  return text;
}

void reads_what_was_written(const StoreUnderTest& subject) {
  Part part(subject, "rw");
  CHECK(code_of(part.get("missing")) == Errc::kNotFound);
  CHECK(code_of(get_sync(part.store, part.key("missing"), GetRange::suffix(4), within())) ==
        Errc::kNotFound);
  const auto etag = part.put("one", "first");
  REQUIRE(etag);
  CHECK_FALSE(etag->empty());
  CHECK(part.get("one").value() == "first");
  const auto got = get_sync(part.store, part.key("one"), GetRange::all(), within());
  REQUIRE(got);
  CHECK(got->etag == *etag);
  CHECK(got->object_size == 5);
  const auto newer = part.put("one", "second, longer");
  REQUIRE(newer);
  CHECK(*newer != *etag);
  CHECK(part.get("one").value() == "second, longer");
  REQUIRE(part.put("one", ""));
  CHECK(part.get("one").value().empty());
  Body pieces;
  pieces.add(Buffer::copy("ab"));
  pieces.add(Buffer());
  pieces.add(Buffer::copy("cde"));
  REQUIRE(put_sync(part.store, part.key("one"), pieces, PutCondition::kAlways, within()));
  CHECK(part.get("one").value() == "abcde");
}

void serves_ranges(const StoreUnderTest& subject) {
  Part part(subject, "range");
  const std::string text = pattern(1000);
  REQUIRE(part.put("thousand", text));
  const uint64_t huge = UINT64_MAX;
  const auto from = [&](uint64_t offset, uint64_t length) {
    return part.get("thousand", GetRange::from(offset, length)).value();
  };
  CHECK(from(0, 1) == text.substr(0, 1));
  CHECK(from(10, 90) == text.substr(10, 90));
  CHECK(from(999, 1) == text.substr(999));
  CHECK(from(990, 100) == text.substr(990));
  CHECK(from(5, huge) == text.substr(5));
  CHECK(from(5, 0).empty());
  CHECK(from(1000, 1).empty());
  CHECK(from(5000, 7).empty());
  CHECK(from(huge - 1, huge).empty());
  CHECK(part.get("thousand", GetRange::suffix(16)).value() == text.substr(984));
  CHECK(part.get("thousand", GetRange::suffix(1000)).value() == text);
  CHECK(part.get("thousand", GetRange::suffix(huge)).value() == text);
  CHECK(part.get("thousand", GetRange::suffix(0)).value().empty());
  for (const GetRange& range : {GetRange::from(990, 100), GetRange::from(2000, 1),
                                GetRange::suffix(3), GetRange::suffix(5000)}) {
    const auto got = get_sync(part.store, part.key("thousand"), range, within());
    REQUIRE(got);
    CHECK(got->object_size == 1000);
  }
  REQUIRE(part.put("empty", ""));
  for (const GetRange& range :
       {GetRange::all(), GetRange::from(0, 10), GetRange::from(3, 1), GetRange::suffix(10)}) {
    const auto got = get_sync(part.store, part.key("empty"), range, within());
    REQUIRE(got);
    CHECK(got->bytes.empty());
    CHECK(got->object_size == 0);
  }
}

void creates_only_once(const StoreUnderTest& subject) {
  Part part(subject, "create");
  REQUIRE(part.put("key", "winner", PutCondition::kIfAbsent));
  CHECK(code_of(part.put("key", "loser", PutCondition::kIfAbsent)) == Errc::kPrecondition);
  CHECK(part.get("key").value() == "winner");
  REQUIRE(part.put("key", "overwritten"));
  CHECK(code_of(part.put("key", "loser", PutCondition::kIfAbsent)) == Errc::kPrecondition);
  REQUIRE(remove_sync(part.store, part.key("key"), within()));
  REQUIRE(part.put("key", "again", PutCondition::kIfAbsent));
  CHECK(part.get("key").value() == "again");

  const auto report =
      probe_conditional_create(part.store, part.key("race/"), os_rng(), within(), {8, 16});
  REQUIRE_MESSAGE(report, report.error().message());
  CHECK_MESSAGE(report->passed(), report->first_violation);
  CHECK(report->rounds == 8);
  CHECK(report->winners_max <= 1);
  CHECK(report->keys_left == 0);
}

void removes_idempotently(const StoreUnderTest& subject) {
  Part part(subject, "remove");
  REQUIRE(part.put("key", "x"));
  CHECK(remove_sync(part.store, part.key("key"), within()));
  CHECK(code_of(part.get("key")) == Errc::kNotFound);
  CHECK(remove_sync(part.store, part.key("key"), within()));
  CHECK(remove_sync(part.store, part.key("never/was"), within()));
  REQUIRE(part.put("dir/inner", "x"));
  CHECK(remove_sync(part.store, part.key("dir"), within()));  // no object of this name
  CHECK(part.get("dir/inner").value() == "x");
}

void lists_in_key_order(const StoreUnderTest& subject) {
  Part part(subject, "list");
  std::vector<std::string> keys;
  for (const std::string& name : awkward_names(subject.takes_any_bytes)) {
    const auto etag = part.put(name, name);
    REQUIRE_MESSAGE(etag, "'" << name << "': " << etag.error().message());
    keys.push_back(part.key(name));
  }
  std::sort(keys.begin(), keys.end());
  CHECK(part.all_keys() == keys);
  CHECK(part.all_keys(1) == keys);
  CHECK(part.all_keys(3) == keys);
  for (const std::string& key : keys)
    CHECK(part.get(key.substr(part.prefix.size())).value() == key.substr(part.prefix.size()));

  // Every prefix of every key, and from behind every key: as a sorted set would answer.
  std::set<std::string> prefixes;
  for (const std::string& key : keys) {
    const size_t from = part.prefix.size();
    for (size_t n = from; n <= key.size() && n < from + 4; ++n) {
      // Servers refuse a prefix that cuts a character in two.
      const bool cut = n < key.size() && (static_cast<unsigned char>(key[n]) & 0xc0) == 0x80;
      // MinIO refuses one that ends in a component "." or "..", though "..." may be a key.
      const std::string prefix = key.substr(0, n);
      const bool dots = prefix.ends_with("/.") || prefix.ends_with("/..");
      if (subject.takes_any_bytes || !(cut || dots)) prefixes.insert(prefix);
    }
  }
  for (const std::string& prefix : prefixes) {
    std::vector<std::string> expected;
    for (const std::string& key : keys)
      if (key.starts_with(prefix)) expected.push_back(key);
    const auto page = list_sync(part.store, prefix, "", 1000, within());
    REQUIRE(page);
    std::vector<std::string> listed;
    for (const ObjectInfo& object : page->objects) listed.push_back(object.key);
    CHECK_MESSAGE(listed == expected, prefix);
    CHECK_FALSE(page->truncated);
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    for (const std::string& after : {keys[i], keys[i] + "!", keys[i] + "/", keys[i] + "0"}) {
      const auto page = list_sync(part.store, part.prefix, after, 2, within());
      REQUIRE(page);
      const auto begin = std::upper_bound(keys.begin(), keys.end(), after);
      const auto count = std::min<ptrdiff_t>(2, keys.end() - begin);
      REQUIRE_MESSAGE(std::ssize(page->objects) == count, after);
      for (ptrdiff_t n = 0; n < count; ++n)
        CHECK(page->objects[static_cast<size_t>(n)].key == begin[n]);
      CHECK(page->truncated == (keys.end() - begin > 2));
    }
  }
}

void lists_what_is_there(const StoreUnderTest& subject) {
  Part part(subject, "info");
  CHECK(part.all_keys().empty());
  REQUIRE(part.put("a/one", "12345"));
  REQUIRE(part.put("b", ""));
  const auto page = list_sync(part.store, part.prefix, "", 1000, within());
  REQUIRE(page);
  REQUIRE(page->objects.size() == 2);
  CHECK(page->objects[0].size == 5);
  CHECK(page->objects[1].size == 0);
  CHECK(page->objects[0].mtime_ns > 1'500'000'000'000'000'000);
  CHECK_FALSE(page->objects[0].etag.empty());
  CHECK(list_sync(part.store, part.key("nothing/here/"), "", 10, within())->objects.empty());
  CHECK(list_sync(part.store, part.prefix, part.prefix + "\x7f", 10, within())->objects.empty());
  CHECK(list_sync(part.store, part.prefix, "", 1, within())->truncated);
  CHECK(code_of(list_sync(part.store, part.prefix, "", 0, within())) == Errc::kInvalid);
  CHECK(code_of(list_sync(part.store, part.prefix, "", 1001, within())) == Errc::kInvalid);
  REQUIRE(remove_sync(part.store, part.key("a/one"), within()));
  CHECK(part.all_keys() == std::vector<std::string>{part.key("b")});
}

// One level behind `after`, in pages of `limit`; prefixes end in '/'.
std::vector<std::string> level_of(Part& part, const std::string& prefix, uint32_t limit,
                                  std::string after = {}) {
  std::vector<std::string> names;
  while (true) {
    const auto page = list_sync(part.store, ListScope::level(prefix), after, limit, within());
    REQUIRE(page);
    CHECK(page->objects.size() + page->prefixes.size() <= limit);
    for (const ObjectInfo& object : page->objects) names.push_back(object.key);
    names.insert(names.end(), page->prefixes.begin(), page->prefixes.end());
    if (!page->truncated) break;
    CHECK_FALSE(page->next.empty());
    after = page->next;
  }
  for (std::string& name : names) name = name.substr(part.prefix.size());
  std::sort(names.begin(), names.end());
  return names;
}

void lists_one_level(const StoreUnderTest& subject) {
  Part part(subject, "level");
  for (const char* key : {"a", "b/1", "b/2/x", "b-1", "b0", "c/d/e", "c.txt", "d"})
    REQUIRE(part.put(key, "12345"));
  using Names = std::vector<std::string>;
  for (const uint32_t limit : {1U, 2U, 3U, 1000U}) {
    CHECK(level_of(part, part.prefix, limit) == Names{"a", "b-1", "b/", "b0", "c.txt", "c/", "d"});
    CHECK(level_of(part, part.key("b/"), limit) == Names{"b/1", "b/2/"});
    CHECK(level_of(part, part.key("c/"), limit) == Names{"c/d/"});
    CHECK(level_of(part, part.key("none/"), limit).empty());
  }
  // From any place on.
  const auto behind = [&](const std::string& after) {
    return level_of(part, part.prefix, 2, after);
  };
  CHECK(behind(level_behind_key(part.key("b-1"))) == Names{"b/", "b0", "c.txt", "c/", "d"});
  CHECK(behind(level_behind_key(part.key("b-"))) == Names{"b-1", "b/", "b0", "c.txt", "c/", "d"});
  CHECK(behind(level_behind_prefix(part.key("b/"))) == Names{"b0", "c.txt", "c/", "d"});
  CHECK(behind(level_behind_prefix(part.key("c/"))) == Names{"d"});
  CHECK(behind(level_behind_key(part.key("d"))).empty());
  const auto page = list_sync(part.store, ListScope::level(part.key("b/")), "", 10, within());
  REQUIRE(page);
  REQUIRE(page->objects.size() == 1);
  CHECK(page->objects[0].size == 5);
  CHECK_FALSE(page->objects[0].etag.empty());
}

void reads_only_the_version_asked_for(const StoreUnderTest& subject) {
  Part part(subject, "version");
  REQUIRE(part.put("a", "first one"));
  const auto listed = list_sync(part.store, part.prefix, "", 10, within());
  REQUIRE(listed);
  REQUIRE(listed->objects.size() == 1);
  GetRange range = GetRange::from(2, 4);
  range.if_match = listed->objects[0].etag;
  CHECK(part.get("a", range) == "rst ");
  REQUIRE(part.put("a", "another one"));
  CHECK(code_of(part.get("a", range)) == Errc::kPrecondition);
  REQUIRE(remove_sync(part.store, part.key("a"), within()));
  CHECK_FALSE(part.get("a", range));
}

void refuses_invalid_keys(const StoreUnderTest& subject) {
  ObjectStore& store = *subject.store;
  for (const std::string& key :
       {std::string(), std::string("/x"), subject.prefix + "x//", subject.prefix + "x//y",
        subject.prefix + "../x", subject.prefix + "./x", subject.prefix + "x/..",
        subject.prefix + std::string("x\0y", 3), subject.prefix + std::string(1024, 'x') + "/x"}) {
    // What other tools may have put there can be asked for.
    const Errc got = code_of(get_sync(store, key, GetRange::all(), within()));
    CHECK((got == Errc::kInvalid || (check_any_key(key) && got == Errc::kNotFound)));
    CHECK(code_of(put_sync(store, key, body_of("x"), PutCondition::kAlways, within())) ==
          Errc::kInvalid);
    CHECK(code_of(put_sync(store, key, body_of("x"), PutCondition::kIfAbsent, within())) ==
          Errc::kInvalid);
    CHECK(code_of(remove_sync(store, key, within())) == Errc::kInvalid);
  }
}

// "dir/" is an object without bytes; a store that is a directory makes one of it.
void keeps_directories(const StoreUnderTest& subject) {
  Part part(subject, "directories");
  const std::string key = part.key("d/");
  REQUIRE(part.put("d/", ""));
  REQUIRE(part.put("d/x", "x"));
  const auto head = head_sync(part.store, key, within());
  REQUIRE(head);
  CHECK(head->info.size == 0);
  const auto there = list_sync(part.store, ListScope::level(part.prefix), "", 10, within());
  REQUIRE(there);
  CHECK(there->prefixes == std::vector<std::string>{key});
  REQUIRE(remove_sync(part.store, part.key("d/x"), within()));
  REQUIRE(remove_sync(part.store, key, within()));
  REQUIRE(remove_sync(part.store, key, within()));
  CHECK(code_of(head_sync(part.store, key, within())) == Errc::kNotFound);
  const auto gone = list_sync(part.store, ListScope::level(part.prefix), "", 10, within());
  REQUIRE(gone);
  CHECK(gone->prefixes.empty());
}

void carries_large_objects(const StoreUnderTest& subject) {
  Part part(subject, "large");
  const TempDir dir;
  auto opened = posix_env().open(dir / "source", OpenMode::kCreateNew);
  REQUIRE(opened);
  const std::shared_ptr<File> file = *std::move(opened);
  const auto rng = make_seeded_rng(1);
  ByteVec piece(size_t{1} << 20);
  for (uint64_t offset = 0; offset < subject.large_bytes; offset += piece.size()) {
    for (size_t i = 0; i < piece.size(); i += 8) put_be64(piece.data() + i, rng->next());
    REQUIRE(file->write_at(offset, piece));
  }
  // In an order that is not the file's: what is sent is the body, not the file.
  const uint64_t half = subject.large_bytes / 2 + 1;
  Body body;
  body.add(Buffer::copy("head"));
  body.add(file, {half, subject.large_bytes - half});
  body.add(file, {0, half});
  REQUIRE(body.size() == subject.large_bytes + 4);
  const Digest expected = sha256(body.to_buffer().value());

  for (const PutCondition condition : {PutCondition::kAlways, PutCondition::kIfAbsent}) {
    const std::string name = condition == PutCondition::kAlways ? "always" : "absent";
    const auto etag = put_sync(part.store, part.key(name), body, condition, within());
    REQUIRE_MESSAGE(etag, etag.error().message());
    const auto got = get_sync(part.store, part.key(name), GetRange::all(), within());
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->bytes.size() == body.size());
    CHECK(sha256(got->bytes) == expected);
  }
  CHECK(code_of(put_sync(part.store, part.key("absent"), body, PutCondition::kIfAbsent,
                         within())) == Errc::kPrecondition);
  ByteVec tail(1000);
  REQUIRE(body.read_at(body.size() - tail.size(), tail));
  const auto got = get_sync(part.store, part.key("always"), GetRange::suffix(1000), within());
  REQUIRE(got);
  CHECK(equal(got->bytes, tail));
}

// Readers of a key that is overwritten see one whole version or another.
void replaces_atomically(const StoreUnderTest& subject) {
  Part part(subject, "atomic");
  const auto version = [](int n) {
    return std::string(20'000 + static_cast<size_t>(n), static_cast<char>('A' + n % 26));
  };
  REQUIRE(part.put("key", version(0)));
  std::atomic<bool> stop{false};
  std::atomic<int> seen{0};
  std::atomic<int> torn{0};
  std::thread reader([&] {
    while (!stop) {
      const auto got = part.get("key");
      if (!got && got.error().code() == Errc::kTransient) continue;
      ++seen;
      const int n = got ? static_cast<int>(got->size()) - 20'000 : -1;
      if (n < 0 || *got != version(n)) ++torn;
    }
  });
  for (int n = 1; n < 40; ++n) CHECK(part.put("key", version(n)));
  while (seen == 0) std::this_thread::yield();
  stop = true;
  reader.join();
  CHECK(torn == 0);
}

void serves_many_at_once(const StoreUnderTest& subject) {
  Part part(subject, "many");
  constexpr size_t kCount = 200;
  std::vector<std::promise<Status>> answers(kCount);
  std::atomic<int> calls{0};
  for (size_t i = 0; i < kCount; ++i) {
    const std::string text = std::to_string(i);
    part.store.put(part.key("d" + std::to_string(i % 7) + "/" + text), body_of(text),
                   PutCondition::kIfAbsent, within(), [&, i](Result<std::string> etag) {
                     ++calls;
                     answers[i].set_value(etag ? Status() : tl::unexpected<Error>(etag.error()));
                   });
  }
  for (auto& answer : answers) CHECK(answer.get_future().get());
  std::vector<std::promise<std::string>> texts(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    part.store.get(part.key("d" + std::to_string(i % 7) + "/" + std::to_string(i)), GetRange::all(),
                   within(), [&, i](Result<GetResult> got) {
                     ++calls;
                     texts[i].set_value(got ? to_string(got->bytes) : got.error().message());
                   });
  }
  for (size_t i = 0; i < kCount; ++i) CHECK(texts[i].get_future().get() == std::to_string(i));
  CHECK(part.all_keys(37).size() == kCount);
  CHECK(calls == 2 * kCount);
}

thread_local bool on_submitting_stack = false;

// Every method, also when it refuses at once, answers later, on another stack, exactly once.
void answers_once_from_a_task(const StoreUnderTest& subject) {
  Part part(subject, "stack");
  struct Seen {
    std::atomic<int> calls{0};
    std::atomic<int> on_stack{0};
    std::promise<void> first;
    void call() {
      if (on_submitting_stack) ++on_stack;
      if (++calls == 1) first.set_value();
    }
  };
  Context cancelled = within();
  cancelled.cancel.cancel();
  std::vector<std::shared_ptr<Seen>> all;
  const auto once = [&](const std::function<void(std::shared_ptr<Seen>)>& start) {
    auto seen = std::make_shared<Seen>();
    all.push_back(seen);
    on_submitting_stack = true;
    start(seen);
    on_submitting_stack = false;
    seen->first.get_future().get();
  };
  for (const std::string& key : {part.key("here"), part.key("missing"), std::string("/bad")}) {
    for (const Context& context : {within(), cancelled}) {
      once([&](const std::shared_ptr<Seen>& seen) {
        part.store.put(key, body_of("x"), PutCondition::kAlways, context,
                       [seen](const Result<std::string>&) { seen->call(); });
      });
      once([&](const std::shared_ptr<Seen>& seen) {
        part.store.get(key, GetRange::all(), context,
                       [seen](const Result<GetResult>&) { seen->call(); });
      });
      once([&](const std::shared_ptr<Seen>& seen) {
        part.store.head(key, context, [seen](const Result<ObjectHead>&) { seen->call(); });
      });
      once([&](const std::shared_ptr<Seen>& seen) {
        part.store.list(key, "", 1, context, [seen](const Result<ListPage>&) { seen->call(); });
      });
      once([&](const std::shared_ptr<Seen>& seen) {
        part.store.remove(key, context, [seen](const Status&) { seen->call(); });
      });
    }
  }
  for (const auto& seen : all) {
    CHECK(seen->calls == 1);
    CHECK(seen->on_stack == 0);
  }
}

void gives_up_when_told(const StoreUnderTest& subject) {
  Part part(subject, "giveup");
  REQUIRE(part.put("key", "x"));
  Context cancelled = within();
  cancelled.cancel.cancel();
  Context late;
  late.deadline = Deadline(system_clock().now() - std::chrono::seconds(1));
  for (const auto& [context, code] :
       {std::pair(cancelled, Errc::kCancelled), std::pair(late, Errc::kTimeout)}) {
    CHECK(code_of(get_sync(part.store, part.key("key"), GetRange::all(), context)) == code);
    CHECK(code_of(head_sync(part.store, part.key("key"), context)) == code);
    CHECK(code_of(put_sync(part.store, part.key("new"), body_of("x"), PutCondition::kAlways,
                           context)) == code);
    CHECK(code_of(list_sync(part.store, part.prefix, "", 10, context)) == code);
    CHECK(code_of(remove_sync(part.store, part.key("key"), context)) == code);
  }
  CHECK(part.get("key").value() == "x");
  CHECK(code_of(part.get("new")) == Errc::kNotFound);

  // Given up while under way: the answer comes soon, whatever it is.
  Body large;
  for (int i = 0; i < 64; ++i) large.add(Buffer::copy(pattern(size_t{1} << 20)));
  for (const bool by_deadline : {false, true}) {
    Context context = within();
    const MonotonicTime start = system_clock().now();
    if (by_deadline) context.deadline = Deadline(start + std::chrono::milliseconds(2));
    std::promise<Result<std::string>> answer;
    part.store.put(part.key("large"), large, PutCondition::kAlways, context,
                   [&](Result<std::string> etag) { answer.set_value(std::move(etag)); });
    if (!by_deadline) context.cancel.cancel();
    const auto result = answer.get_future().get();
    CHECK(system_clock().now() - start < subject.soon);
    if (result) continue;
    const Errc code = result.error().code();
    // Shortly before the deadline a store that was refused may say why instead of waiting for it.
    CHECK((by_deadline ? code == Errc::kTimeout || code == Errc::kTransient
                       : code == Errc::kCancelled));
  }
}

}  // namespace

std::vector<std::string> suite::awkward_names(bool any_bytes) {
  std::vector<std::string> names{"a-b",
                                 "a/b",
                                 "a/c-d",
                                 "a/c/e",
                                 "a0",
                                 "ab",
                                 "a!",
                                 "a b",
                                 "b",
                                 "b.c",
                                 "c+d",
                                 "c%2fd",
                                 "c&d",
                                 "c=d",
                                 "c?d",
                                 "c#d",
                                 "c'd",
                                 "c\"d",
                                 "c*d",
                                 "c(d)",
                                 "c:d",
                                 "c;d",
                                 "c,d",
                                 "c@d",
                                 "c$d",
                                 "c<d>",
                                 "c~d",
                                 "c|d",
                                 "c^d",
                                 "c`d",
                                 "c{d}",
                                 "c[d]",
                                 "\xc3\xa9t\xc3\xa9",
                                 "\xe2\x82\xac/x",
                                 "\xf0\x9f\xaa\xa8",
                                 "...",
                                 ".hidden",
                                 "z/..z",
                                 "0",
                                 "00000000000000000001",
                                 "00000000000000000002",
                                 std::string(200, 'n') + "/" + std::string(200, 'm')};
  if (any_bytes) {
    names.insert(names.end(), {"\xff\xfe",
                               "c\x01"
                               "d",
                               "c\nd", "c\\d", "c\x7f", "\x80"});
  }
  return names;
}

void object_store_suite(const StoreUnderTest& subject) {
  const std::string store = subject.store->description();
  CAPTURE(store);
  CHECK_FALSE(store.empty());
  reads_what_was_written(subject);
  serves_ranges(subject);
  creates_only_once(subject);
  removes_idempotently(subject);
  lists_in_key_order(subject);
  lists_what_is_there(subject);
  lists_one_level(subject);
  reads_only_the_version_asked_for(subject);
  refuses_invalid_keys(subject);
  keeps_directories(subject);
  replaces_atomically(subject);
  serves_many_at_once(subject);
  answers_once_from_a_task(subject);
  gives_up_when_told(subject);
  carries_large_objects(subject);
  put_suite(subject);
  object_version_suite(subject);
}

}  // namespace cairn
