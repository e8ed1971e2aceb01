// The journal over arbitrary files: whatever they hold, opening gives LSNs without a gap or an
// error, and what it accepted can be appended to, read back and opened again.
//
// Input: up to three files, each a byte for its first LSN, two bytes for its length, its bytes. So
// that changed bytes get past the checksums, those of headers and of frames found in order are put
// right first; the last byte of the input says for how many frames.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "cache/base/coding.h"
#include "cache/base/log.h"
#include "cache/journal.h"
#include "cache/journal_format.h"
#include "tests/support/memory_env.h"

using namespace cairn;
using cairn::test::MemoryEnv;

namespace {

const std::string kDir = "/j";

void require(bool holds) {
  if (!holds) std::abort();
}

void put_le32(ByteVec& out, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) out[at + i] = static_cast<std::byte>(value >> (8 * i));
}

void put_checksums_right(ByteVec& file, unsigned frames) {
  if (file.size() < kJournalHeaderBytes) return;
  put_le32(file, kJournalHeaderBytes - 4, crc32c(Bytes(file).first(kJournalHeaderBytes - 4)));
  const uint32_t seed = crc32c(Bytes(file).first(kJournalHeaderBytes));
  size_t at = kJournalHeaderBytes;
  for (; frames > 0 && file.size() - at >= kFrameHeaderBytes; --frames) {
    const uint64_t end = at + 8 + uint64_t{get_le<uint32_t>(file.data() + at)};
    if (end < at + kFrameHeaderBytes || end > file.size()) return;
    const Bytes frame = Bytes(file).subspan(at, static_cast<size_t>(end) - at);
    put_le32(file, at + 4, crc32c(frame.subspan(8), crc32c(frame.first(4), seed)));
    at = static_cast<size_t>(end);
  }
}

void make_files(MemoryEnv& env, Bytes in) {
  require(env.make_dirs(kDir).has_value());
  if (in.empty()) return;
  const auto frames = static_cast<unsigned>(in.back());
  in = in.first(in.size() - 1);
  for (int i = 0; i < 3 && in.size() >= 3; ++i) {
    std::array<std::byte, 8> first{};
    first[7] = in[0];
    const size_t size = std::min<size_t>(get_le<uint16_t>(in.data() + 1), in.size() - 3);
    ByteVec bytes = to_vec(in.subspan(3, size));
    in = in.subspan(3 + size);
    put_checksums_right(bytes, frames);
    const auto file = env.open(kDir + "/" + to_hex(first) + ".log", OpenMode::kCreate);
    require(file && (*file)->truncate(0) && (*file)->write_at(0, bytes));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  set_log_level(LogLevel::kOff);
  MemoryEnv env;
  make_files(env, {reinterpret_cast<const std::byte*>(data), size});
  const Journal::Options options{.dir = kDir,
                                 .cache_id = {},
                                 .file_bytes_max = 4096,
                                 .record_bytes_max = 2048,
                                 .sync_data = {}};
  Lsn last = 0;
  const auto in_order = [&](const JournalRecord& record) -> Result<bool> {
    require(last == 0 || record.lsn == last + 1);
    require(record.payload.size() <= options.record_bytes_max);
    last = record.lsn;
    return true;
  };
  auto journal = Journal::open(env, options, 0, 0, in_order);
  if (!journal) return 0;
  require((*journal)->appended() == last && (*journal)->durable() == last);
  const Bytes parts[] = {as_bytes("one more")};
  require((*journal)->append(1, parts).has_value() && (*journal)->sync(last + 1).has_value());
  Lsn read = (*journal)->trimmed();
  require((*journal)
              ->read(read, last + 1,
                     [&](const JournalRecord& record) -> Status {
                       require(record.lsn == ++read);
                       return {};
                     })
              .has_value());
  require(read == last + 1);
  journal->reset();
  const Lsn expected = last + 1;
  last = 0;
  require(Journal::open(env, options, 0, expected, in_order).has_value());
  require(last == expected);
  return 0;
}
