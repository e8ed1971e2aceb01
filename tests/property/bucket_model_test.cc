// Random changes through a mount of objects, against a model: what the bucket and another mount
// show afterwards.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

TEST_CASE("whatever is done, the bucket holds what the files say") {
  const char* profile = std::getenv("CAIRN_TEST_PROFILE");
  const unsigned seeds = profile != nullptr && std::string(profile) == "full" ? 500 : 12;
  for (unsigned seed = 41; seed <= 40 + seeds; ++seed) {
    CAPTURE(seed);
    Writer w;
    const auto rng = make_seeded_rng(seed);
    std::map<std::string, std::string> model;  // files by path
    std::set<std::string> dirs{""};
    const auto pick = [&](const auto& from) {
      auto it = from.begin();
      std::advance(it, static_cast<long>(rng->below(from.size())));
      return *it;
    };
    const auto fresh = [&] {
      const std::string dir = pick(dirs);
      return dir + (dir.empty() ? "" : "/") + "n" + std::to_string(rng->below(6));
    };
    const auto is_dir = [&](const std::string& path) { return dirs.contains(path); };
    const auto below = [](const std::string& path, const std::string& dir) {
      return path.starts_with(dir + "/");
    };
    for (int step = 0; step < 150; ++step) {
      switch (rng->below(8)) {
        case 0:
        case 1: {
          const std::string path = fresh();
          if (is_dir(path)) break;
          const uint64_t offset = rng->below(3) == 0 ? rng->below(400'000) : 0;
          const std::string bytes = bytes_of(1 + rng->below(1000), static_cast<unsigned>(step));
          w.write(path, bytes, offset);
          std::string& there = model[path];
          there.resize(std::max<size_t>(there.size(), offset + bytes.size()));
          there.replace(offset, bytes.size(), bytes);
          break;
        }
        case 2: {
          const std::string path = fresh();
          if (is_dir(path) || model.contains(path)) break;
          w.mkdir(path);
          dirs.insert(path);
          break;
        }
        case 3: {
          if (model.empty()) break;
          const std::string path = pick(model).first;
          w.unlink(path);
          model.erase(path);
          break;
        }
        case 4: {
          const std::string dir = pick(dirs);
          const bool used = dir.empty() ||
                            std::any_of(model.begin(), model.end(),
                                        [&](const auto& each) { return below(each.first, dir); }) ||
                            std::any_of(dirs.begin(), dirs.end(),
                                        [&](const std::string& each) { return below(each, dir); });
          if (used) break;
          w.rmdir(dir);
          dirs.erase(dir);
          break;
        }
        case 5: {
          if (model.empty()) break;
          const auto [from, bytes] = pick(model);
          const std::string to = fresh();
          if (is_dir(to) || to == from) break;
          w.rename(from, to);
          model.erase(from);
          model[to] = bytes;
          break;
        }
        case 6: {
          const std::string from = pick(dirs);
          const std::string to = fresh();
          if (from.empty() || to == from || below(to, from) || is_dir(to) || model.contains(to))
            break;
          w.rename(from, to);
          const auto moved = [&](const std::string& path) { return to + path.substr(from.size()); };
          std::map<std::string, std::string> files;
          for (const auto& [path, bytes] : model)
            files[below(path, from) ? moved(path) : path] = bytes;
          model = files;
          std::set<std::string> there;
          for (const std::string& path : dirs)
            there.insert(path == from || below(path, from) ? moved(path) : path);
          dirs = there;
          break;
        }
        default:
          if (rng->below(4) == 0) w.flush();
          if (rng->below(8) == 0) {
            w.mount.kill();
            w.open();
          }
      }
    }
    w.flush();
    std::map<std::string, std::string> files;
    for (const auto& [key, bytes] : w.bucket())
      if (!key.ends_with('/')) files[key] = bytes;
    CHECK(files == model);
    const auto check = [&] {
      for (const auto& [path, bytes] : model)
        CHECK(w.read_ino(w.find(path), 0, 1 << 20).value_or("error") == bytes);
      for (const std::string& dir : dirs) {
        if (dir.empty()) continue;
        CAPTURE(dir);
        const Ino ino = w.find(dir);
        REQUIRE(ino != 0);
        CHECK(w.mount.run([&](Volume& v, Need& n) { return v.getattr(ino, n); })->mode ==
              (S_IFDIR | 0755));
      }
    };
    check();
    w.look_from_elsewhere(check);
  }
}
