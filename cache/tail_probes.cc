#include "cache/tail_probes.h"

#include <atomic>
#include <utility>

#include "cache/store_keys.h"

namespace cairn {
namespace {
constexpr size_t kPacksMax = 1 << 16;
}  // namespace

class TailProbes::Operation : public std::enable_shared_from_this<Operation> {
 public:
  Operation(std::shared_ptr<TailProbes> probes, const PackName& pack, std::vector<Digest> digests,
            Context context, Callback<Places> done)
      : probes_(std::move(probes)),
        pack_(pack),
        digests_(std::move(digests)),
        context_(std::move(context)),
        done_(std::move(done)),
        places_(digests_.size()) {}

  void start() {
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(pack_.blocks, UINT32_MAX));
    uint64_t asked = 0;
    for (const Digest& digest : digests_) asked += likely_entries(digest, count).count;
    const auto entries = probes_->entries_of(pack_.digest);
    const uint64_t read = entries ? entries->read : 0;
    const bool paid = asked + read >= count && (read == 0 || probes_->tails_->may_keep(pack_));
    if (paid) probes_->start_anew(pack_.digest);
    if (paid || probes_->tails_->has(pack_.digest)) return read_whole();
    if (entries) return read_entries(*entries);
    probes_->gets_->get(
        pack_key(pack_.digest), GetRange::suffix(kPackFooterSize), context_,
        [self = shared_from_this()](const Result<GetResult>& got) { self->take_footer(got); });
  }

 private:
  void take_footer(const Result<GetResult>& got) {
    if (!got) return done_(tl::unexpected<Error>(got.error()));
    const auto tail = PackTail::need(got->bytes, got->object_size);
    // What is wrong with it the whole tail says.
    if (!tail || got->object_size != pack_.size || *tail < pack_.blocks * kPackEntrySize)
      return read_whole();
    const Entries entries{pack_.size - *tail, static_cast<uint32_t>(pack_.blocks)};
    probes_->remember(pack_.digest, entries);
    read_entries(entries);
  }

  void read_entries(const Entries& entries) {
    left_ = digests_.size();
    for (size_t i = 0; i < digests_.size(); ++i) {
      const PackEntrySpan span = likely_entries(digests_[i], entries.count);
      probes_->note_read(pack_.digest, span.count);
      const uint64_t offset = entries.offset + uint64_t{span.first} * kPackEntrySize;
      probes_->gets_->get(pack_key(pack_.digest),
                          GetRange::from(offset, uint64_t{span.count} * kPackEntrySize), context_,
                          [self = shared_from_this(), i, span,
                           count = entries.count](const Result<GetResult>& got) {
                            if (got)
                              self->take_entries(i, span, count, got->bytes);
                            else
                              self->note(got.error());
                            if (self->left_.fetch_sub(1) == 1) self->entries_are_here();
                          });
    }
  }

  void take_entries(size_t i, const PackEntrySpan& span, uint32_t count, Bytes bytes) {
    const auto found = find_pack_entry(bytes, span, count, digests_[i]);
    if (!found) {
      elsewhere_ = true;
    } else if (*found) {
      places_[i] = BlockPlace{pack_.digest, (*found)->offset, (*found)->length};
    }
  }

  void entries_are_here() {
    if (error_) return done_(tl::unexpected<Error>(*error_));
    if (elsewhere_) return read_whole();
    done_(std::move(places_));
  }

  void read_whole() {
    probes_->tails_->fetch(
        pack_, context_, [self = shared_from_this()](const Result<PackTail>& tail) {
          if (!tail) return self->done_(tl::unexpected<Error>(tail.error()));
          for (size_t i = 0; i < self->digests_.size(); ++i) {
            const auto entry = tail->find(self->digests_[i]);
            self->places_[i].reset();
            if (entry) self->places_[i] = BlockPlace{tail->name(), entry->offset, entry->length};
          }
          self->done_(std::move(self->places_));
        });
  }

  void note(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }

  const std::shared_ptr<TailProbes> probes_;
  const PackName pack_;
  const std::vector<Digest> digests_;
  const Context context_;
  const Callback<Places> done_;
  Places places_;  // each written by the answer for it
  std::atomic<bool> elsewhere_{false};
  std::atomic<size_t> left_{0};
  RankedMutex<Rank::kLeaf> mutex_;
  std::optional<Error> error_;
};

void TailProbes::find(const PackName& pack, std::vector<Digest> digests, Context context,
                      Callback<Places> done) {
  std::make_shared<Operation>(shared_from_this(), pack, std::move(digests), std::move(context),
                              std::move(done))
      ->start();
}

std::optional<TailProbes::Entries> TailProbes::entries_of(const Digest& pack) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(pack);
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

void TailProbes::start_anew(const Digest& pack) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(pack);
  if (found != entries_.end()) found->second.read = 0;
}

void TailProbes::note_read(const Digest& pack, uint64_t entries) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(pack);
  if (found != entries_.end()) found->second.read += entries;
}

void TailProbes::remember(const Digest& pack, const Entries& entries) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kPacksMax) entries_.clear();
  entries_.insert_or_assign(pack, entries);
}

}  // namespace cairn
