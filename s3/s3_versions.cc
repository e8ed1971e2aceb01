#include "s3/s3_versions.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "s3/s3_xml.h"

namespace cairn {

namespace {

// Between a key and a version in `next`: neither has it.
constexpr char kBetween = '\n';

tl::unexpected<Error> bad_versions(const std::string& what, std::string_view why) {
  return fail(Errc::kIo, fmt::format("{}: the store's answer does not add up: {}", what, why));
}

// Where the next page begins when the store does not say it.
std::string behind_last(const VersionPage& page, const std::string& key_prefix) {
  std::string key, version;
  if (!page.versions.empty()) {
    key = page.versions.back().info.key;
    version = page.versions.back().version_id;
  }
  if (!page.prefixes.empty() && page.prefixes.back() > key) {
    key = page.prefixes.back() + std::string(kLastCharacter);
    version.clear();
  }
  return key_prefix + key + kBetween + version;
}

Result<VersionPage> page_of(S3VersionListing listing, const S3ListRequest& request,
                            const std::string& what) {
  const std::string prefix = request.key_prefix + request.scope.prefix;
  const size_t own = request.key_prefix.size();
  VersionPage page;
  page.truncated = listing.truncated;
  const size_t count = listing.versions.size() + listing.prefixes.size();
  for (ObjectVersion& version : listing.versions) {
    if (!version.info.key.starts_with(prefix))
      return bad_versions(what, "a key without the prefix asked for");
    if (request.scope.one_level &&
        version.info.key.find('/', prefix.size()) < version.info.key.size() - 1)
      return bad_versions(what, "a key below the level asked for");
    version.info.key.erase(0, own);
    if (!version.info.key.empty()) page.versions.push_back(std::move(version));
  }
  std::stable_sort(page.versions.begin(), page.versions.end(),
                   [](const ObjectVersion& a, const ObjectVersion& b) {
                     if (a.info.key != b.info.key) return a.info.key < b.info.key;
                     if (a.latest != b.latest) return a.latest;
                     return a.info.mtime_ns > b.info.mtime_ns;
                   });
  for (std::string& each : listing.prefixes) {
    if (!request.scope.one_level) return bad_versions(what, "prefixes that nobody asked for");
    if (!each.starts_with(prefix) || each.size() <= prefix.size() || each.back() != '/')
      return bad_versions(what, "a prefix that does not end a level");
    page.prefixes.push_back(each.substr(own));
  }
  if (!std::is_sorted(page.prefixes.begin(), page.prefixes.end()))
    return bad_versions(what, "the prefixes are not in byte order");
  if (!page.truncated && count >= request.limit) {
    page.truncated = true;
    listing.next_key.clear();
  }
  if (!page.truncated) return page;
  page.next = listing.next_key.empty() ? behind_last(page, request.key_prefix)
                                       : listing.next_key + kBetween + listing.next_version;
  // More than that cannot be said: markers of MinIO are keys with something behind them.
  if (page.next == request.after || page.next.front() == kBetween)
    return bad_versions(what, "a page that does not come forward");
  return page;
}

}  // namespace

void list_object_versions(const std::shared_ptr<S3Client>& client, S3ListRequest request,
                          Callback<VersionPage> done) {
  const std::string prefix = request.key_prefix + request.scope.prefix;
  S3Call call;
  call.operation = "list versions of";
  call.method = "GET";
  call.query = {{"versions", ""},
                {"encoding-type", "url"},
                {"max-keys", std::to_string(request.limit)},
                {"prefix", prefix}};
  if (request.scope.one_level) call.query.emplace_back("delimiter", "/");
  if (const size_t at = request.after.rfind(kBetween); at != std::string::npos) {
    call.query.emplace_back("key-marker", request.after.substr(0, at));
    const std::string version = request.after.substr(at + 1);
    if (!version.empty()) call.query.emplace_back("version-id-marker", version);
  }
  call.context = request.context;
  call.max_response_bytes = kMaxXmlBytes;
  const S3Call sent = call;
  client->send(std::move(call), [client, sent, request = std::move(request),
                                 done = std::move(done)](Result<S3Answer> answer) {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    if (answer->response.status != 200)
      return done(tl::unexpected<Error>(client->error_of(sent, *answer)));
    const std::string what =
        "list versions of " + client->object_name(request.key_prefix + request.scope.prefix);
    auto listing = parse_list_versions(answer->response.body, request.limit);
    if (!listing) return done(tl::unexpected<Error>(std::move(listing).error().wrap(what)));
    done(page_of(*std::move(listing), request, what));
  });
}

void bucket_keeps_versions(const std::shared_ptr<S3Client>& client, Context context,
                           Callback<bool> done) {
  S3Call call;
  call.operation = "get the versioning of";
  call.method = "GET";
  call.query = {{"versioning", ""}};
  call.context = std::move(context);
  const S3Call sent = call;
  client->send(std::move(call), [client, sent, done = std::move(done)](Result<S3Answer> answer) {
    if (!answer) return done(tl::unexpected<Error>(std::move(answer).error()));
    if (answer->response.status == 200) return done(parse_versioning(answer->response.body));
    const auto error = parse_s3_error(answer->response.body);
    // A store that can keep versions, but is not told where to.
    if (error && error->code == "VersioningNotConfigured") return done(false);
    done(tl::unexpected<Error>(client->error_of(sent, *answer)));
  });
}

}  // namespace cairn
