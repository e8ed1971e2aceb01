// Cookies of an open directory: one name each, whatever changes.
#include "fs/dir_cookies.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

namespace cairn {
namespace {

// Reads on from `cookie` as a listing by name does; returns the cookie of each name given out.
std::vector<std::pair<uint64_t, std::string>> read_on(DirCookies& cookies,
                                                      const std::set<std::string>& names,
                                                      uint64_t cookie, size_t limit) {
  DirCookies::Position at = cookies.find(cookie);
  auto name = at.name ? names.upper_bound(*at.name) : names.begin();
  std::vector<std::pair<uint64_t, std::string>> out;
  for (; name != names.end() && out.size() < limit; ++name) {
    at.cookie = cookies.next(at.cookie, *name);
    out.emplace_back(at.cookie, *name);
  }
  return out;
}

std::set<std::string> numbered(unsigned count) {
  std::set<std::string> names;
  for (unsigned i = 0; i < count; ++i) names.insert("entry-" + std::to_string(i * 7919 % count));
  return names;
}

TEST_CASE("every cookie leads back to its name while the directory changes") {
  std::set<std::string> names = numbered(1000);
  DirCookies cookies;
  std::map<uint64_t, std::string> given;
  for (const auto& [cookie, name] : read_on(cookies, names, 0, 2000)) {
    CHECK(cookie > DirCookies::kDotDot);
    CHECK(given.emplace(cookie, name).second);
  }
  CHECK(given.size() == 1000);

  // Half of it goes, new names come in between, and somebody reads from the middle.
  for (unsigned i = 0; i < 1000; i += 2) names.erase("entry-" + std::to_string(i));
  for (unsigned i = 0; i < 500; ++i) names.insert("entry-" + std::to_string(i) + "-new");
  for (const auto& [cookie, name] : read_on(cookies, names, given.begin()->first + 400, 300)) {
    const auto known = given.find(cookie);
    if (known != given.end()) {
      CHECK(known->second == name);
    } else {
      given.emplace(cookie, name);
    }
  }
  for (const auto& [cookie, name] : given) {
    const auto next = read_on(cookies, names, cookie, 1);
    const auto expected = names.upper_bound(name);
    REQUIRE(next.empty() == (expected == names.end()));
    if (!next.empty()) CHECK(next[0].second == *expected);
  }
}

TEST_CASE("a listing that starts again gives the same cookies while nothing changes") {
  const std::set<std::string> names = numbered(300);
  DirCookies cookies;
  const auto first = read_on(cookies, names, 0, 1000);
  CHECK(read_on(cookies, names, 0, 1000) == first);
  CHECK(read_on(cookies, names, first[99].first, 1000).front() == first[100]);
}

TEST_CASE("names of any bytes and of full length, with little memory") {
  std::set<std::string> names;
  for (unsigned i = 0; i < 600; ++i) {
    std::string name(255, static_cast<char>(0x80 + i % 128));
    name[254 - i / 128] = '\n';
    names.insert(name);
  }
  DirCookies cookies(8 * 1024);
  // In pages, as the kernel reads: where one page stopped, the next one goes on exactly.
  std::vector<std::string> seen;
  uint64_t last = 0;
  while (true) {
    const auto page = read_on(cookies, names, last, 17);
    if (page.empty()) break;
    for (const auto& [cookie, name] : page) seen.push_back(name);
    last = page.back().first;
  }
  CHECK(seen == std::vector<std::string>(names.begin(), names.end()));
  // What was forgotten is near by: at most a block before the place.
  const auto found = cookies.find(DirCookies::kDotDot + 100);
  REQUIRE(found.name);
  const auto at = std::distance(names.begin(), names.find(*found.name));
  CHECK(at <= 99);
  CHECK(at >= 99 - 64);
}

}  // namespace
}  // namespace cairn
