#include "cache/volume_format.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cache/base/coding.h"
#include "cache/commit_log.h"
#include "cache/format/commit.h"
#include "cache/format/mst.h"
#include "cache/format/pack.h"
#include "cache/format/records.h"
#include "cache/snapshots.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {
using Json = nlohmann::ordered_json;

constexpr uint64_t kVolumeFileBytesMax = 64 << 10;
constexpr const char* kMarker = "cairn volume";

std::string to_text(const Json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string text_in(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

uint64_t number_in(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<uint64_t>() : 0;
}
}  // namespace

// ---- cairn.json

std::string VolumeFile::encode() const {
  Json json;
  json[kMarker] =
      "The objects under this prefix are a file system. Mount it with `cairn mount`; "
      "do not change them by hand.";
  json["format"] = format;
  json["uuid"] = uuid;
  json["created"] = created;
  json["parameters"] = {{"profile", profile},
                        {"chunk_size", chunk_size},
                        {"links_per_node", links_per_node},
                        {"fanout_bits", fanout_bits}};
  json["conditional_creates"] = {{"store", probe_store}, {"result", probe_result}};
  // Of the text without this member: check finds a byte that changed.
  json["checksum"] = fmt::format("{:08x}", crc32c(as_bytes(to_text(json))));
  return to_text(json);
}

Result<VolumeFile> VolumeFile::decode(Bytes in) {
  const Json json = Json::parse(as_chars(in), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains(kMarker))
    return fail(Errc::kCorruption, fmt::format("{} is not a volume's description", kVolumeKey));
  VolumeFile file;
  file.format = number_in(json, "format");
  if (file.format == 0)
    return fail(Errc::kCorruption, fmt::format("{} names no format", kVolumeKey));
  if (file.format > Superblock::kFormat)
    return fail(Errc::kUnsupported,
                fmt::format("the volume has format {}, made by a newer version of cairn; this one "
                            "knows formats up to {}",
                            file.format, Superblock::kFormat));
  file.uuid = text_in(json, "uuid");
  file.created = text_in(json, "created");
  const Json parameters = json.value("parameters", Json::object());
  if (parameters.is_object()) {
    file.profile = text_in(parameters, "profile");
    file.chunk_size = number_in(parameters, "chunk_size");
    file.links_per_node = number_in(parameters, "links_per_node");
    file.fanout_bits = number_in(parameters, "fanout_bits");
  }
  const Json probe = json.value("conditional_creates", Json::object());
  if (probe.is_object()) {
    file.probe_store = text_in(probe, "store");
    file.probe_result = text_in(probe, "result");
  }
  return file;
}

// ---- identify

Result<Identity> identify(ObjectStore& store, Context context) {
  Identity identity;
  auto got =
      get_sync(store, std::string(kVolumeKey), GetRange::from(0, kVolumeFileBytesMax), context);
  if (got) {
    auto file = VolumeFile::decode(got->bytes);
    if (!file) return tl::unexpected<Error>(std::move(file).error().wrap(store.description()));
    identity.volume = *std::move(file);
    identity.kind = Identity::Kind::kVolume;
    return identity;
  }
  if (got.error().code() != Errc::kNotFound) return tl::unexpected<Error>(std::move(got).error());
  TRY_ASSIGN(const ListPage page, list_sync(store, "", "", 1, context));
  if (page.objects.empty()) return identity;
  identity.kind = Identity::Kind::kOther;
  identity.example = page.objects.front().key;
  return identity;
}

// ---- format

namespace {
// Collects the blocks of the first tree, which is built on nothing.
class NewBlocks final : public BlockReader, public BlockSink {
 public:
  Result<Buffer> get(const Digest& digest) override {
    if (digest == empty_mst_root()) return Buffer(empty_mst_block());
    return fail(Errc::kNotFound, "block " + digest.hex());
  }
  Status put(const Cid& cid, Buffer bytes) override {
    for (const auto& [there, unused] : blocks)
      if (there == cid) return {};
    blocks.emplace_back(cid, std::move(bytes));
    return {};
  }
  std::vector<std::pair<Cid, Buffer>> blocks;
};

struct FirstTree {
  Digest root;
  PackPlan pack;
  Body body;
};

Superblock superblock_of(const FormatOptions& options, const Uuid& uuid) {
  Superblock superblock;
  superblock.uuid = uuid;
  superblock.chunk_size = options.chunk_size;
  superblock.links_per_node = options.links_per_node;
  superblock.fanout_bits = options.fanout_bits;
  superblock.profile = options.profile;
  superblock.quota_bytes = options.quota_bytes;
  return superblock;
}

InodeRecord root_inode(const FormatOptions& options, int64_t now_ns) {
  InodeRecord root;
  root.mode = mode_of_type(FileType::kDirectory) | 0755;
  root.uid = options.uid;
  root.gid = options.gid;
  root.nlink = 2;
  root.mtime = root.ctime = root.atime = root.btime = now_ns;
  root.body = uint64_t{kRootIno};  // its own parent
  return root;
}

Result<FirstTree> first_tree(const Superblock& superblock, const InodeRecord& root_directory) {
  NewBlocks blocks;
  const auto value = [&](const ByteVec& encoded) -> Result<Cid> {
    const Cid cid = record_cid(encoded);
    if (!cid.is_identity()) TRY(blocks.put(cid, Buffer::copy(encoded)));
    return cid;
  };
  std::vector<MstEdit> edits(2);
  edits[0].key = superblock_key();
  TRY_ASSIGN(edits[0].value, value(superblock.encode()));
  edits[1].key = inode_key(kRootIno);
  TRY_ASSIGN(edits[1].value, value(root_directory.encode()));
  MstBlockNodeReader nodes(blocks, static_cast<unsigned>(superblock.fanout_bits));
  FirstTree tree;
  TRY_ASSIGN(tree.root, mst_apply(nodes, empty_mst_root(), edits, blocks));
  PackBuilder builder(PackKind::kMeta);
  for (const auto& [cid, bytes] : blocks.blocks) TRY(builder.add(cid, bytes.size()));
  const std::vector<std::pair<Cid, Buffer>>& packed = blocks.blocks;
  TRY_ASSIGN(tree.pack, builder.finish());
  for (size_t i = 0; i < packed.size(); ++i) {
    tree.body.add(tree.pack.prefix(i));
    tree.body.add(packed[i].second);
  }
  tree.body.add(tree.pack.trailer());
  return tree;
}

Result<ByteVec> first_commit(const FirstTree& tree, const Superblock& superblock,
                             const FormatOptions& options, int64_t now_ns, Rng& rng) {
  CommitRecord commit;
  commit.seq = 1;
  commit.epoch = 1;
  for (size_t i = 0; i < commit.nonce.size(); i += sizeof(uint64_t))
    put_be64(&commit.nonce[i], rng.next());
  commit.writer.host = options.host;
  commit.root = Cid::from_digest(Codec::kDagCbor, tree.root);
  commit.time_ns = now_ns;
  const PackTail& tail = tree.pack.tail();
  if (const auto entry = tail.find(tree.root))
    commit.root_place = CommitRecord::RootPlace{tail.name(), entry->offset, entry->length};
  commit.metadata_packs.push_back({tail.name(), tail.object_size(), tail.size(), 0});
  commit.totals.inodes = 1;
  commit.totals.stored_bytes = tail.object_size();
  commit.features = superblock.features;
  return commit.encode();
}

Status refuse_unless_empty(ObjectStore& store, const Context& context) {
  TRY_ASSIGN(const Identity found, identify(store, context));
  const std::string where = store.description();
  switch (found.kind) {
    case Identity::Kind::kEmpty:
      return {};
    case Identity::Kind::kVolume:
      break;
    case Identity::Kind::kOther:
      return fail(Errc::kExists,
                  fmt::format("{} is not empty: it holds '{}'; choose a prefix where nothing lies. "
                              "Nothing was changed",
                              where, found.example));
  }
  TRY_ASSIGN(const ListPage commits, list_sync(store, std::string(kCommitPrefix), "", 1, context));
  if (commits.objects.empty())
    return fail(Errc::kExists,
                fmt::format("{}: making a volume was begun here and not finished; remove what lies "
                            "there and format again. Nothing was changed",
                            where));
  return fail(Errc::kExists, fmt::format("{} holds a cairn volume already (made {}); mount it with "
                                         "`cairn mount`. Nothing was changed",
                                         where, found.volume.created));
}

// Creates cairn.json, or decides who did when the answer was unclear.
Status create_volume_file(ObjectStore& store, const std::string& text, const Context& context) {
  const auto put = put_sync(store, std::string(kVolumeKey), Body(Buffer::copy(text)),
                            PutCondition::kIfAbsent, context);
  if (put) return {};
  if (put.error().code() != Errc::kPrecondition && !outcome_unknown(put.error()))
    return tl::unexpected<Error>(put.error());
  const auto there =
      get_sync(store, std::string(kVolumeKey), GetRange::from(0, kVolumeFileBytesMax), context);
  if (there && as_chars(there->bytes) == text) return {};
  if (there)
    return fail(
        Errc::kPrecondition,
        fmt::format("{}: somebody else makes a volume here at this moment", store.description()));
  return tl::unexpected<Error>(put.error());
}

Status check_parameters(const FormatOptions& options) {
  const auto between = [](uint64_t value, uint64_t low, uint64_t high, const char* name) -> Status {
    if (value >= low && value <= high) return {};
    return fail(Errc::kInvalid, fmt::format("{} must be between {} and {}", name, low, high));
  };
  TRY(between(options.chunk_size, Superblock::kMinChunkSize, Superblock::kMaxChunkSize,
              "the chunk size"));
  if (options.chunk_size % 4096 != 0)
    return fail(Errc::kInvalid, "the chunk size must be a multiple of 4096");
  TRY(between(options.links_per_node, Superblock::kMinLinks, Superblock::kMaxLinks,
              "links per node"));
  return between(options.fanout_bits, Superblock::kMinFanoutBits, Superblock::kMaxFanoutBits,
                 "the fan-out bits");
}
}  // namespace

Result<VolumeFile> format_volume(ObjectStore& store, Executor& executor, Clock& clock, Rng& rng,
                                 const FormatOptions& options, Context context) {
  TRY(check_parameters(options));
  TRY(refuse_unless_empty(store, context));
  VolumeProbe probe{true, "not tried"};
  if (options.probe) {
    TRY_ASSIGN(probe, options.probe());
    if (!probe.passed && !options.accept_failed_probe)
      return fail(Errc::kUnsupported,
                  fmt::format("{} does not honour conditional creates ({}), so two writers could "
                              "overwrite each other's work; use another store, or say "
                              "--unsafe-single-writer when there will only ever be one",
                              store.description(), probe.result));
  }
  const int64_t now_ns = clock.wall_ns();
  const Uuid uuid = make_uuid(rng);
  const Superblock superblock = superblock_of(options, uuid);
  TRY_ASSIGN(const FirstTree tree, first_tree(superblock, root_inode(options, now_ns)));
  TRY_ASSIGN(ByteVec commit, first_commit(tree, superblock, options, now_ns, rng));

  VolumeFile file;
  file.uuid = uuid_text(uuid);
  file.created = utc_text(now_ns);
  file.chunk_size = options.chunk_size;
  file.links_per_node = options.links_per_node;
  file.fanout_bits = options.fanout_bits;
  file.profile = options.profile;
  file.probe_store = store.description();
  file.probe_result = probe.result;
  TRY(create_volume_file(store, file.encode(), context));
  TRY(put_sync(store, pack_key(tree.pack.name()), tree.body, PutCondition::kAlways, context));
  CommitLog::Options log_options;
  log_options.unsafe_single_writer = !probe.passed;
  CommitLog log(store, executor, clock, rng, log_options);
  TRY(log.create(1, Buffer(std::move(commit)), context));
  // A hint only: without it the first mount starts at commit 1 all the same.
  (void)put_sync(store, std::string(kHeadKey), Body(Buffer::copy(number_text(1))),
                 PutCondition::kAlways, context);
  return file;
}

}  // namespace cairn
