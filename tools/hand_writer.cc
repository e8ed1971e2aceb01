#include "tools/hand_writer.h"

#include <algorithm>

#include "tools/host_name.h"

namespace cairn {
namespace {

// There is no journal, and no files are published.
class NoJournal final : public PublishHost {
 public:
  Result<std::shared_ptr<File>> open_data(const DataRef&) override {
    return fail(Errc::kUnsupported, "this command publishes no files");
  }
  Result<std::optional<Buffer>> resident(uint64_t, uint64_t, const Leaf&) override {
    return std::optional<Buffer>();
  }
  void chunk_staged(uint64_t, uint64_t, const Leaf&, Buffer) override {}
  Status commit_intended(uint64_t, Bytes) override { return {}; }
  void uploaded(uint64_t) override {}
};

Uuid hand_id(const Uuid& volume) {
  ByteVec text = to_vec(as_bytes("cairn by hand "));
  append(text, volume);
  const Digest digest = sha256(text);
  Uuid id{};
  std::copy_n(digest.bytes.begin(), id.size(), id.begin());
  return id;
}

}  // namespace

HandWriter::HandWriter() : scratch_("cairn-hand"), host_(std::make_unique<NoJournal>()) {}
HandWriter::~HandWriter() = default;

Result<std::unique_ptr<HandWriter>> HandWriter::open(ObjectStore& store, Runtime& runtime,
                                                     bool read_only, const Context& context) {
  std::unique_ptr<HandWriter> writer(new HandWriter());
  if (writer->scratch_.path().empty()) return fail_errno(errno, "temporary directory");
  TreeRemote::Options options;
  options.mode = TreeRemote::Mode::kFollower;
  options.metadata_dir = writer->scratch_.path();
  options.host = host_name() + " (cairn)";
  const TreeRemote::Components parts{store,    posix_env(),  system_clock(),
                                     os_rng(), runtime.work, &runtime.publishing};
  TRY_ASSIGN(writer->remote_, TreeRemote::open(parts, options, context));
  if (read_only) return writer;
  options.mode = TreeRemote::Mode::kWriter;
  options.cache_id = hand_id(writer->remote_->params().volume_id);
  TRY_ASSIGN(writer->remote_, TreeRemote::open(parts, options, context));
  TRY(writer->remote_->begin_writing(*writer->host_, context));
  writer->writing_ = true;
  return writer;
}

Status HandWriter::close() {
  if (!writing_) return {};
  PublishBatch goodbye;
  goodbye.lsn = remote_->published().lsn;
  goodbye.close = true;
  TRY(remote_->publish(goodbye, *host_, Context()));
  writing_ = false;
  return {};
}

}  // namespace cairn
