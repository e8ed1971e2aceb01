#include "s3/s3_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "s3/s3_xml.h"

namespace cairn {

namespace {

// Where a page of one level ended: this and the store's token, or as level_behind_key.
constexpr char kToken = 't';

class Listing : public std::enable_shared_from_this<Listing> {
 public:
  Listing(std::shared_ptr<S3Client> client, S3ListRequest request, Callback<ListPage> done)
      : client_(std::move(client)),
        request_(std::move(request)),
        full_prefix_(request_.key_prefix + request_.scope.prefix),
        what_("list " + client_->object_name(full_prefix_)),
        done_(std::move(done)) {
    if (request_.after.empty()) return;
    if (!request_.scope.one_level) {
      start_after_ = request_.key_prefix + request_.after;
    } else if (request_.after.front() == kToken) {
      token_ = request_.after.substr(1);
    } else {
      start_after_ = request_.key_prefix + std::string(key_of_level(request_.after));
    }
  }

  void run() {
    send(request_.limit, [self = shared_from_this()](Result<S3Listing> listing) {
      self->answered(std::move(listing));
    });
  }

 private:
  void send(uint32_t limit, Callback<S3Listing> done) {
    S3Call call;
    call.operation = "list";
    call.method = "GET";
    call.query = {{"list-type", "2"},
                  {"encoding-type", "url"},
                  {"max-keys", std::to_string(limit)},
                  {"prefix", full_prefix_}};
    if (request_.scope.one_level) call.query.emplace_back("delimiter", "/");
    if (!token_.empty()) call.query.emplace_back("continuation-token", token_);
    if (!start_after_.empty()) call.query.emplace_back("start-after", start_after_);
    call.context = request_.context;
    call.max_response_bytes = kMaxXmlBytes;
    const S3Call sent = call;
    client_->send(std::move(call), [self = shared_from_this(), sent, limit,
                                    done = std::move(done)](Result<S3Answer> answer) {
      if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
      if (answer->response.status != 200)
        return done(tl::unexpected<Error>(self->client_->error_of(sent, *answer)));
      auto listing = parse_list_objects(answer->response.body, limit);
      if (!listing)
        return done(tl::unexpected<Error>(std::move(listing).error().wrap(self->what_)));
      done(std::move(listing));
    });
  }

  void answered(Result<S3Listing> listing) {
    if (!listing) return done_(tl::unexpected<Error>(std::move(listing).error()));
    auto page = page_of(*listing);
    if (!page) return done_(std::move(page));
    const std::string last = last_of(*listing);
    if (page->truncated) {
      if (request_.scope.one_level)
        page->next =
            listing->next_token.empty() ? level_behind(last) : kToken + listing->next_token;
      if (request_.scope.one_level || !page->objects.empty()) return done_(std::move(page));
      start_after_ = last;  // only the folder marker so far
      return run();
    }
    if (listing->objects.size() + listing->prefixes.size() < request_.limit)
      return done_(std::move(page));
    look_behind(last, *std::move(page));
  }

  void look_behind(const std::string& last, ListPage page) {
    token_.clear();
    start_after_ = last;
    send(1, [self = shared_from_this(), last,
             page = std::move(page)](Result<S3Listing> more) mutable {
      if (!more) return self->done_(tl::unexpected<Error>(std::move(more).error()));
      page.truncated = !more->objects.empty() || !more->prefixes.empty();
      if (page.truncated && self->request_.scope.one_level) page.next = self->level_behind(last);
      self->done_(std::move(page));
    });
  }

  std::string level_behind(const std::string& last) const {
    return level_behind_key(last.substr(request_.key_prefix.size()));
  }

  // A key behind all that the page has, and before all that follows.
  static std::string last_of(const S3Listing& listing) {
    std::string last = listing.objects.empty() ? std::string() : listing.objects.back().key;
    if (!listing.prefixes.empty() && listing.prefixes.back() > last)
      last = listing.prefixes.back() + std::string(kLastCharacter);
    return last;
  }

  tl::unexpected<Error> bad(std::string_view why) const {
    return fail(Errc::kIo, fmt::format("{}: the store's answer does not add up: {}", what_, why));
  }

  Status check_name(std::string_view name, std::string_view& last) const {
    if (!name.starts_with(full_prefix_)) return bad("a key without the prefix asked for");
    if (name <= last) return bad("the keys are not in byte order");
    last = name;
    if (!request_.scope.one_level) return {};
    const size_t slash = name.find('/', full_prefix_.size());
    if (slash != std::string_view::npos && slash + 1 != name.size())
      return bad("a key below the level asked for");
    return {};
  }

  Result<ListPage> page_of(const S3Listing& listing) const {
    const size_t own = request_.key_prefix.size();
    ListPage page;
    page.truncated = listing.truncated;
    std::string_view last = start_after_;
    for (const S3ListedObject& object : listing.objects) {
      TRY(check_name(object.key, last));
      // A "folder" that a console made for the prefix itself is no object of ours.
      if (object.key.size() == own) continue;
      page.objects.push_back({object.key.substr(own), object.size, object.etag, object.mtime_ns});
    }
    last = start_after_;
    for (const std::string& prefix : listing.prefixes) {
      TRY(check_name(prefix, last));
      if (prefix.size() <= full_prefix_.size() || prefix.back() != '/')
        return bad("a prefix that does not end a level");
      page.prefixes.push_back(prefix.substr(own));
    }
    if (!request_.scope.one_level && !listing.prefixes.empty())
      return bad("prefixes that nobody asked for");
    const bool goes_on = request_.scope.one_level && !listing.next_token.empty();
    if (page.truncated && !goes_on && listing.objects.empty() && listing.prefixes.empty())
      return bad("an empty page, but more to come");
    return page;
  }

  const std::shared_ptr<S3Client> client_;
  const S3ListRequest request_;
  const std::string full_prefix_;
  const std::string what_;
  const Callback<ListPage> done_;
  std::string start_after_;  // a whole key, with the store's prefix
  std::string token_;
};

}  // namespace

void list_objects(const std::shared_ptr<S3Client>& client, S3ListRequest request,
                  Callback<ListPage> done) {
  std::make_shared<Listing>(client, std::move(request), std::move(done))->run();
}

}  // namespace cairn
