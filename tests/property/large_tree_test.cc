// A tree that is too large to come whole with a mount: what the mount reads of it, and how many
// requests one after the other the way to a key takes.
#include <doctest/doctest.h>

#include <mutex>
#include <string>
#include <vector>

#include "cache/await.h"
#include "cache/commit_parts.h"
#include "cache/format/commit.h"
#include "cache/format/records.h"
#include "cache/store_keys.h"
#include "tests/support/tree_world.h"

namespace cairn {
namespace {

using test::VolumeModel;

constexpr int kCommits = 6;
constexpr int kFilesACommit = 2500;

// Packs of 256 KiB, six commits of which each wrote other places of the tree and the root.
struct LargeTree {
  test::TreeWorld world;
  VolumeModel model{world.new_log(), test::kChunk};
  std::mutex mutex;
  size_t pack_reads = 0;  // not of their ends
  size_t tail_reads = 0;

  LargeTree() {
    auto remote = world.open_writer(options("writer"), model);
    for (int commit = 0; commit < kCommits; ++commit)
      REQUIRE(remote->publish(batch(commit), model, Context()));
    world.faults.on_get = [this](const std::string& key, const GetRange& range) {
      if (!key.starts_with("p/")) return;
      const std::lock_guard lock(mutex);
      ++(range.kind == GetRange::Kind::kSuffix ? tail_reads : pack_reads);
    };
  }

  TreeRemote::Options options(const std::string& name, bool writer = true) {
    TreeRemote::Options options = world.options(name, writer);
    options.metadata.pack_bytes = 256 << 10;
    options.prefetch_bytes = 512 << 10;
    return options;
  }

  // The files of a commit lie all over the keys of the ones before.
  static Ino ino_of(int commit, int file) {
    return make_ino(1, static_cast<uint32_t>(file / 50 + 1),
                    static_cast<uint16_t>(file % 50 * kCommits + commit + 1));
  }

  static PublishBatch batch(int commit) {
    PublishBatch batch;
    batch.lsn = static_cast<Lsn>(commit + 1);
    for (int file = 0; file < kFilesACommit; ++file) {
      InodeRecord record;
      record.mode = 0100644;
      record.nlink = 1;
      record.mtime = 1'700'000'000'000'000'000 + file;
      batch.edits.push_back({inode_key(ino_of(commit, file)), record_cid(record.encode())});
    }
    std::sort(batch.edits.begin(), batch.edits.end(),
              [](const TreeEdit& a, const TreeEdit& b) { return a.key < b.key; });
    return batch;
  }

  // How often the way to the key stopped for a request; it must be there.
  static size_t waits(TreeRemote& remote, const std::string& key) {
    for (size_t count = 0;; ++count) {
      Missing missing;
      const auto found = remote.find(key, missing);
      if (found) {
        CHECK(found->has_value());
        return count;
      }
      REQUIRE(found.error().code() == Errc::kNotLocal);
      REQUIRE(
          await<void>([&](Callback<void> done) { remote.fetch(missing, {}, std::move(done)); }));
    }
  }
};

TEST_CASE("of a large tree a mount reads the pack of the root, and one more leads to any key") {
  LargeTree tree;
  const auto writer = tree.world.open(tree.options("looks", false));
  const auto record = CommitRecord::decode(writer->commit_record());
  REQUIRE(record);
  const MetadataAhead ahead = metadata_ahead(*record, 512 << 10, 16 << 20);
  REQUIRE(ahead.tails.size() >= 6);
  tree.pack_reads = tree.tail_reads = 0;

  const auto reader = tree.world.open(tree.options("reader", false));
  CHECK(tree.pack_reads == ahead.now.size());
  CHECK(LargeTree::waits(*reader, superblock_key()) == 0);
  CHECK(LargeTree::waits(*reader, inode_key(kRootIno)) == 0);
  CHECK(tree.pack_reads == ahead.now.size());

  size_t keys = 0;
  tree.pack_reads = 0;
  for (int commit = 0; commit < kCommits; ++commit)
    for (int file = 0; file < kFilesACommit; file += 250) {
      // Each on an empty cache, so that none profits from another.
      const auto cold = tree.world.open(tree.options("cold" + std::to_string(keys++), false));
      LargeTree::waits(*cold, inode_key(LargeTree::ino_of(commit, file)));
    }
  const size_t reads = tree.pack_reads - keys * ahead.now.size();
  MESSAGE(record->metadata_packs.size(), " metadata packs, ", keys, " keys, ", reads, " reads");
  CHECK(reads <= keys + keys / 15);
  CHECK(tree.tail_reads > 0);
}

}  // namespace
}  // namespace cairn
