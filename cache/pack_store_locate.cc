// Finding blocks: tails that are here, index segments, then tails that are not here yet.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <iterator>

#include "cache/pack_store_core.h"

namespace cairn {
namespace {
constexpr size_t kFirstProbes = 4;  // packs asked in the first step

// One locate call. Its steps run one after the other, each for what is still unknown.
class LocateOperation : public std::enable_shared_from_this<LocateOperation> {
 public:
  LocateOperation(std::shared_ptr<PackStoreCore> core, std::vector<Digest> digests, PackKind kind,
                  Context context, Callback<std::vector<BlockPlace>> done)
      : core_(std::move(core)),
        digests_(std::move(digests)),
        kind_(kind),
        context_(std::move(context)),
        done_(std::move(done)),
        going_(core_->going()),
        places_(digests_.size()),
        condemned_places_(digests_.size()) {}

  void start() {
    look_in_tails();
    next();
  }

 private:
  enum class Step : uint8_t { kSegments, kDataTails, kMetaTailsAway, kMetaTailsHere };
  // Segments list leaves only, and metadata packs hold small leaves besides nodes.
  static constexpr std::array<Step, 4> kOfLeaves{Step::kSegments, Step::kDataTails,
                                                 Step::kMetaTailsAway, Step::kMetaTailsHere};
  static constexpr std::array<Step, 4> kOfNodes{Step::kMetaTailsAway, Step::kSegments,
                                                Step::kDataTails, Step::kMetaTailsHere};

  // The tails of some packs that were asked for together.
  struct TailStep {
    size_t left;
    std::shared_ptr<const PackStoreCore::Outgoing> going;
    bool over = false;
  };

  void next() {
    if (all_known()) return finish();
    const auto& steps = kind_ == PackKind::kMeta ? kOfNodes : kOfLeaves;
    if (step_ == steps.size()) return ask_condemned();
    switch (steps[step_++]) {
      case Step::kSegments:
        return ask_segments();
      case Step::kDataTails:
        return ask_tails(core_->packs_of(PackKind::kData));
      case Step::kMetaTailsAway:
        return ask_tails(core_->metadata_packs_away());
      case Step::kMetaTailsHere:
        return ask_tails(core_->packs_of(PackKind::kMeta));
    }
  }

  void look_in_tails() {
    for (size_t i = 0; i < digests_.size(); ++i)
      if (!places_[i])
        places_[i] = core_->tails->find(
            digests_[i], [this](const PackTail& tail) { return going_->leaves(tail.name()); });
  }

  bool all_known() const {
    for (const auto& place : places_)
      if (!place) return false;
    return true;
  }

  // What has no place yet, and where it stands among all.
  std::pair<std::vector<Digest>, std::vector<size_t>> still_unknown() const {
    std::pair<std::vector<Digest>, std::vector<size_t>> out;
    for (size_t i = 0; i < digests_.size(); ++i) {
      if (places_[i]) continue;
      out.first.push_back(digests_[i]);
      out.second.push_back(i);
    }
    return out;
  }

  void ask_segments() {
    auto [unknown, places] = still_unknown();
    core_->segments->find(std::move(unknown), context_,
                          [self = shared_from_this(), indexes = std::move(places)](
                              Result<std::vector<std::optional<BlockPlace>>> found) {
                            if (found) {
                              for (size_t i = 0; i < indexes.size(); ++i)
                                self->take_from_segments(indexes[i], (*found)[i]);
                            } else {
                              self->note(found.error());
                            }
                            self->next();
                          });
  }

  void take_from_segments(size_t index, const std::optional<BlockPlace>& place) {
    if (!place) return;
    if (!going_->leaves(place->pack))
      places_[index] = place;
    else if (!going_->deleted(place->pack))
      condemned_places_[index] = place;
  }

  void ask_tails(std::vector<PackName> packs) {
    const Task then = [self = shared_from_this()] { self->tails_are_here(); };
    if (core_->tails->have_room_for(packs)) return fetch_tails(packs, then);
    sort_nearest_first(packs);
    probe_tails(std::make_shared<const std::vector<PackName>>(std::move(packs)), 0, kFirstProbes,
                then);
  }

  // What is read next mostly lies in the pack of what was read last, or beside it: packs are
  // written in the order of the tree.
  void sort_nearest_first(std::vector<PackName>& packs) const {
    const auto newest = core_->tails->newest();
    const auto here = std::find_if(packs.begin(), packs.end(), [&](const PackName& pack) {
      return newest && pack.digest == *newest;
    });
    if (here == packs.end()) return;
    std::vector<PackName> sorted;
    sorted.reserve(packs.size());
    auto before = std::make_reverse_iterator(here);
    for (auto at = here; at != packs.end() || before != packs.rend();) {
      if (at != packs.end()) sorted.push_back(*at++);
      if (before != packs.rend()) sorted.push_back(*before++);
    }
    packs = std::move(sorted);
  }

  // Where the tails of a volume are larger than the memory for them, reading all of them for one
  // block would read them for every block. More packs are asked in each step, until one has it.
  void probe_tails(const std::shared_ptr<const std::vector<PackName>>& packs, size_t from,
                   size_t count, const Task& then) {
    if (from >= packs->size() || all_known()) return then();
    auto [unknown, indexes] = still_unknown();
    const size_t to = std::min(packs->size(), from + count);
    const auto left = std::make_shared<std::atomic<size_t>>(to - from);
    for (size_t i = from; i < to; ++i)
      core_->probes->find((*packs)[i], unknown, context_,
                          [self = shared_from_this(), packs, to, count, then, left,
                           indexes](const Result<TailProbes::Places>& found) {
                            if (found)
                              self->take_probed(indexes, *found);
                            else
                              self->note(found.error());
                            if (left->fetch_sub(1) == 1)
                              self->probe_tails(packs, to, count * 2, then);
                          });
  }

  void take_probed(const std::vector<size_t>& indexes, const TailProbes::Places& found) {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < indexes.size(); ++i) {
      if (!found[i]) continue;
      const bool leaves = going_->leaves(found[i]->pack);
      auto& place = leaves ? condemned_places_[indexes[i]] : places_[indexes[i]];
      if (!place) place = found[i];
    }
  }

  // Goes on when everything is known, or the last tail was looked into.
  void fetch_tails(const std::vector<PackName>& packs, const std::function<void()>& then) {
    if (packs.empty()) return then();
    const auto step = std::make_shared<TailStep>(TailStep{packs.size(), going_});
    for (const PackName& pack : packs) {
      if (is_over(*step)) return;  // it was in a tail that is here
      core_->tails->fetch(pack, context_,
                          [self = shared_from_this(), step, then](const Result<PackTail>& tail) {
                            if (self->ends(*step, tail)) then();
                          });
    }
  }

  bool is_over(const TailStep& step) {
    const std::lock_guard lock(mutex_);
    return step.over;
  }

  // Each tail as it comes: where those of a volume are larger than the memory for them, the first
  // are gone before the last is here.
  bool ends(TailStep& step, const Result<PackTail>& tail) {
    const bool leaves = tail && step.going->leaves(tail->name());
    const std::lock_guard lock(mutex_);
    if (step.over) return false;
    if (!tail && !error_) error_ = tail.error();
    for (size_t i = 0; tail && i < digests_.size(); ++i) {
      auto& place = leaves ? condemned_places_[i] : places_[i];
      if (place) continue;
      if (const auto entry = tail->find(digests_[i]))
        place = BlockPlace{tail->name(), entry->offset, entry->length};
    }
    step.over = --step.left == 0 || all_known();
    return step.over;
  }

  void tails_are_here() {
    look_in_tails();
    if (!all_known() && forget_missing()) return look_again();
    next();
  }

  // A store may forget an object for a moment, and the collector may have deleted a pack that was
  // merged or moved: then the newest commit says where else to look.
  void look_again() {
    asked_ = true;
    core_->ask_again(looks_++, [self = shared_from_this()](const Status&) {
      self->going_ = self->core_->going();
      self->step_ = 0;
      self->next();
    });
  }

  // True when something was not there and it is worth to ask once more.
  bool forget_missing() {
    const std::lock_guard lock(mutex_);
    if (!error_ || error_->code() != Errc::kNotFound || looks_ >= kLooksMax) return false;
    error_.reset();
    return true;
  }

  // Only a reader of an older tree gets here.
  void ask_condemned() {
    for (size_t i = 0; i < places_.size(); ++i)
      if (!places_[i]) places_[i] = condemned_places_[i];
    if (all_known()) return finish();
    fetch_tails(core_->condemned_without_tail(),
                [self = shared_from_this()] { self->condemned_are_here(); });
  }

  void condemned_are_here() {
    for (size_t i = 0; i < digests_.size(); ++i) {
      if (!places_[i]) places_[i] = core_->tails->find(digests_[i]);
      if (!places_[i]) places_[i] = condemned_places_[i];
    }
    if (!all_known() && !asked_) return look_again();
    finish();
  }

  void note(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }

  void finish() {
    std::vector<BlockPlace> places;
    places.reserve(places_.size());
    for (size_t i = 0; i < places_.size(); ++i) {
      if (!places_[i]) {
        // What could not be asked may have had it: then that is the answer.
        if (error_) return done_(tl::unexpected<Error>(*error_));
        return done_(
            fail(Errc::kNotFound, fmt::format("{}: no pack that the volume names has the block {}",
                                              core_->store.description(), digests_[i].hex())));
      }
      places.push_back(*places_[i]);
    }
    done_(std::move(places));
  }

  const std::shared_ptr<PackStoreCore> core_;
  const std::vector<Digest> digests_;
  const PackKind kind_;
  const Context context_;
  const Callback<std::vector<BlockPlace>> done_;
  std::shared_ptr<const PackStoreCore::Outgoing> going_;  // of this look
  std::vector<std::optional<BlockPlace>> places_;
  std::vector<std::optional<BlockPlace>> condemned_places_;  // in packs that leave
  RankedMutex<Rank::kLeaf> mutex_;
  std::optional<Error> error_;  // the first of a step
  size_t step_ = 0;             // the next one
  unsigned looks_ = 1;          // only one is under way
  bool asked_ = false;          // for the newest commit
};
}  // namespace

void PackStoreCore::locate(std::vector<Digest> digests, PackKind kind, Context context,
                           Callback<std::vector<BlockPlace>> done) {
  std::make_shared<LocateOperation>(shared_from_this(), std::move(digests), kind,
                                    std::move(context), std::move(done))
      ->start();
}

std::vector<PackName> PackStoreCore::packs_of(PackKind kind) const {
  std::vector<PackName> candidates;
  {
    const std::lock_guard lock(mutex);
    for (const auto* list : {&own, &named})
      for (auto it = list->rbegin(); it != list->rend(); ++it)
        if (it->kind == kind) candidates.push_back(*it);
    for (const PackName& pack : others) {
      const bool there =
          std::any_of(candidates.begin(), candidates.end(),
                      [&](const PackName& one) { return one.digest == pack.digest; });
      if (pack.kind == kind && !there) candidates.push_back(pack);
    }
  }
  return candidates;
}

std::vector<PackName> PackStoreCore::metadata_packs_away() const {
  std::function<bool(const Digest&)> is_here;
  {
    const std::lock_guard lock(mutex);
    is_here = all_here;
  }
  std::vector<PackName> packs = packs_of(PackKind::kMeta);
  if (is_here) std::erase_if(packs, [&](const PackName& pack) { return is_here(pack.digest); });
  return packs;
}

std::vector<PackName> PackStoreCore::condemned_without_tail() const {
  std::vector<PackName> packs;
  for (const auto& [digest, there] : going()->condemned)
    if (there && !tails->has(digest)) packs.push_back({.digest = digest});
  for (const Digest& digest : going()->suspects)
    if (!tails->has(digest)) packs.push_back({.digest = digest});
  return packs;
}

}  // namespace cairn
