#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/support/tidy.h"

using namespace cairn;
namespace fs = std::filesystem;

namespace {

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// The messages of all findings, so that a test can say which rule it expects.
std::string messages(const std::string& path, const std::string& text) {
  std::string all;
  for (const TidyFinding& finding : check_source(path, text)) all += finding.message + "\n";
  return all;
}

bool refused(const std::string& path, const std::string& text, const std::string& why) {
  return messages(path, text).find(why) != std::string::npos;
}

bool clean(const std::string& path, const std::string& text) {
  return messages(path, text).empty();
}

}  // namespace

TEST_CASE("every source keeps the house rules") {
  const fs::path root = CAIRN_SOURCE_DIR;
  size_t sources = 0;
  for (const char* top : {"cache", "s3", "fs", "tools", "tests", "packaging"}) {
    if (!fs::exists(root / top)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      if (!entry.is_regular_file()) continue;
      const std::string path = fs::relative(entry.path(), root).generic_string();
      const std::string extension = entry.path().extension();
      const bool is_cxx = extension == ".h" || extension == ".cc";
      if (!is_cxx && extension != ".md" && extension != ".sh" && extension != ".py" &&
          extension != ".txt")
        continue;
      ++sources;
      const std::string text = read(entry.path());
      for (const TidyFinding& finding : is_cxx ? check_source(path, text) : check_leftovers(text))
        FAIL_CHECK(path << ":" << finding.line << ": " << finding.message);
    }
  }
  CHECK(sources > 50);  // a wrong root must not pass
}

TEST_CASE("tidy: includes may only point downwards") {
  CHECK(refused("cache/base/x.cc", "#include \"cache/journal.h\"\n", "downwards"));
  CHECK(refused("cache/base/x.cc", "#include \"cache/format/cid.h\"\n", "downwards"));
  CHECK(refused("cache/format/x.cc", "#include \"cache/object_store.h\"\n", "downwards"));
  CHECK(refused("cache/x.cc", "#include \"s3/file_store.h\"\n", "downwards"));
  CHECK(refused("cache/x.cc", "  #  include \"fs/volume.h\"\n", "downwards"));
  CHECK(refused("s3/x.cc", "#include \"cache/format/cid.h\"\n", "downwards"));
  CHECK(refused("s3/x.cc", "#include \"cache/journal.h\"\n", "downwards"));
  CHECK(refused("s3/x.cc", "#include \"fs/volume.h\"\n", "downwards"));
  CHECK(refused("fs/x.cc", "#include \"s3/file_store.h\"\n", "downwards"));
  CHECK(refused("fs/x.cc", "#include \"tools/config.h\"\n", "downwards"));
  CHECK(refused("tools/x.cc", "#include \"tests/support/temp_dir.h\"\n", "downwards"));
  CHECK(refused("fs/x.cc", "#include \"volume.h\"\n", "root"));
  CHECK(clean("s3/x.cc", "#include \"cache/object_store.h\"\n#include \"cache/base/env.h\"\n"));
  CHECK(clean("cache/x.cc", "#include \"cache/format/cid.h\"\n#include \"cache/y.h\"\n"));
  CHECK(clean("fs/x.cc", "#include \"cache/journal.h\"\n#include \"fs/y.h\"\n"));
  CHECK(clean("tools/x.cc", "#include \"s3/file_store.h\"\n#include \"fs/volume.h\"\n"));
}

TEST_CASE("tidy: each dependency has one door") {
  CHECK(refused("cache/x.cc", "#include <openssl/evp.h>\n", "digest.h"));
  CHECK(refused("cache/base/env.cc", "#include <spdlog/spdlog.h>\n", "log.h"));
  CHECK(refused("cache/journal.cc", "#include <lmdb.h>\n", "meta_store.h"));
  CHECK(refused("s3/s3_store.cc", "#include <curl/curl.h>\n", "HTTP client"));
  CHECK(refused("fs/volume.cc", "#include <fuse_lowlevel.h>\n", "fuse_session.h"));
  CHECK(refused("fs/x.cc", "#include <CLI/CLI.hpp>\n", "tools/command.h"));
  CHECK(refused("tools/mount.cc", "#include <toml++/toml.h>\n", "config_file.h"));
  CHECK(clean("cache/base/digest.cc", "#include <openssl/evp.h>\n"));
  CHECK(clean("cache/lmdb.cc", "#include <lmdb.h>\n"));
  CHECK(clean("s3/curl_pool.cc", "#include <curl/curl.h>\n"));
  CHECK(clean("fs/fuse_ops.cc", "#include <fuse_lowlevel.h>\n"));
}

TEST_CASE("tidy: time, threads, files and chance come from outside") {
  CHECK(refused("cache/x.cc", "auto t = std::chrono::steady_clock::now();\n", "Clock"));
  CHECK(refused("cache/x.cc", "auto t = system_clock().now();\n", "Clock"));
  CHECK(refused("s3/x.cc", "auto e = env(posix_env());\n", "Env"));
  CHECK(refused("fs/x.cc", "  std::thread worker([] {});\n", "Executor"));
  CHECK(refused("fs/x.cc", "std::this_thread::sleep_for(1s);\n", "submit_at"));
  CHECK(refused("s3/x.cc", "int fd = ::open(path, 0);\n", "Env::open"));
  CHECK(refused("cache/x.cc", "if (::fsync(fd) != 0) return;\n", "sync"));
  CHECK(refused("cache/x.cc", "fdatasync(fd);\n", "sync_data"));
  CHECK(refused("tests/x.cc", "int i = rand();\n", "Rng"));
  CHECK(refused("fs/x.cc", "std::cout << 1;\n", "log.h"));
  CHECK(refused("fs/x.cc", "throw std::runtime_error(\"no\");\n", "Result"));
  CHECK(clean("cache/base/clock.cc", "auto t = std::chrono::steady_clock::now();\n"));
  CHECK(clean("s3/x.cc", "auto s = FileStore::open(parts);\nvolume->fsync(true);\n"));
  CHECK(clean("s3/x.cc", "// std::thread, ::open(\n/* rand() */ auto s = \"std::cout rand()\";\n"));
  CHECK(clean("s3/x.cc", "auto n = std::thread::hardware_concurrency();\nint operand(1);\n"));
  CHECK(clean("fs/x.cc", "Status fsync_all();\nconst int n = 1'000;  // rand()\n"));
}

TEST_CASE("tidy: length, headers and leftovers") {
  std::string lines;
  for (int i = 0; i < 601; ++i) lines += "\n";
  CHECK(refused("fs/x.cc", lines, "600 lines"));
  CHECK(clean("fs/x.cc", lines.substr(1)));
  CHECK(refused("fs/x.cc", std::string(101, '/') + "\n", "100 columns"));
  CHECK(refused("fs/x.h", "#pragma once\n", "begins with"));
  CHECK(refused("fs/x.h", "// A thing.\nint x;\n", "pragma"));
  CHECK(clean("fs/x.h", "// A thing.\n#pragma once\n"));
  CHECK(check_leftovers("a\n// FIX"
                        "ME later\n")
            .at(0)
            .line == 2);
  CHECK(check_leftovers("mkdtemp(\"/tmp/XX"
                        "XXXX\")\n")
            .empty());
}

TEST_CASE("tidy: comments and literals are no code") {
  CHECK(code_only("a // b\nc") == "a     \nc");
  CHECK(code_only("a /* b\nc */ d") == "a     \n     d");
  CHECK(code_only("f(\"x\\\"y\", 'z')") == "f(\"    \", ' ')");
  CHECK(code_only("1'000'000 + g()") == "1'000'000 + g()");
  CHECK(code_only("R\"(a \" b)\" + c") == "           + c");
}
