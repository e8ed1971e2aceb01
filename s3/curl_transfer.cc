#include "s3/curl_transfer.h"

#include <algorithm>
#include <charconv>

#include "s3/byte_pool.h"

namespace cairn {

namespace {

constexpr long kReceiveBuffer = 512 * 1024;
constexpr long kSendBuffer = 256 * 1024;
constexpr uint64_t kSmallBody = 64 * 1024;  // not worth a large send buffer
constexpr Duration kTimerSlack = std::chrono::milliseconds(50);
constexpr size_t kMaxHeaderBytes = 128 * 1024;  // of one answer

std::string_view host_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  return url.substr(0, url.find_first_of("/?"));
}

std::string_view trim_header(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && std::string_view(" \t\r\n").find(s.back()) != std::string_view::npos)
    s.remove_suffix(1);
  return s;
}

bool breaks_a_header(std::string_view s) {
  return s.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}

template <class T>
void set(CURL* handle, CURLoption option, T value) {
  curl_easy_setopt(handle, option, value);
}

}  // namespace

Status CurlTransfer::prepare(CURL* handle, const CurlOptions& options, Clock& clock) {
  handle_ = handle;
  if (!request_.url.starts_with("http://") && !request_.url.starts_with("https://"))
    return fail(Errc::kInvalid, "'" + request_.url.substr(0, 200) +
                                    "' is not a usable URL: no http:// or https://");
  set(handle, CURLOPT_URL, request_.url.c_str());
  set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle, CURLOPT_PATH_AS_IS, 1L);
  set(handle, CURLOPT_FOLLOWLOCATION, 0L);
  set(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(handle, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(handle, CURLOPT_SSL_VERIFYPEER, 1L);
  set(handle, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!options.ca_bundle.empty()) set(handle, CURLOPT_CAINFO, options.ca_bundle.c_str());
  if (request_.direct) set(handle, CURLOPT_NOPROXY, "*");
  set(handle, CURLOPT_USERAGENT, options.user_agent.c_str());
  set(handle, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
  set(handle, CURLOPT_QUICK_EXIT, 1L);  // a slow resolver must not hold up our end
#endif
  set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
  set(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(handle, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  if (request_.body.size() > kSmallBody) set(handle, CURLOPT_UPLOAD_BUFFERSIZE, kSendBuffer);
  set(handle, CURLOPT_ERRORBUFFER, detail_.data());
  set(handle, CURLOPT_PRIVATE, static_cast<void*>(this));

  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  set(handle, CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(duration_cast<milliseconds>(options.connect_timeout).count()));
  set(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  const Duration stall =
      request_.stall_timeout > Duration::zero() ? request_.stall_timeout : options.stall_timeout;
  set(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(duration_cast<seconds>(stall).count()));
  const Duration left = request_.context.deadline.left(clock);
  if (left < std::chrono::hours(24 * 20))
    set(handle, CURLOPT_TIMEOUT_MS,
        static_cast<long>(duration_cast<milliseconds>(left).count() + 1));

  set(handle, CURLOPT_HEADERFUNCTION, &CurlTransfer::on_header);
  set(handle, CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(handle, CURLOPT_WRITEFUNCTION, &CurlTransfer::on_body);
  set(handle, CURLOPT_WRITEDATA, static_cast<void*>(this));
  set_method();
  return set_headers();
}

void CurlTransfer::set_method() {
  CURL* handle = handle_;
  const bool put = request_.method == "PUT";
  if (put || request_.method == "POST") {
    set(handle, CURLOPT_READFUNCTION, &CurlTransfer::on_read);
    set(handle, CURLOPT_READDATA, static_cast<void*>(this));
    set(handle, CURLOPT_SEEKFUNCTION, &CurlTransfer::on_seek);
    set(handle, CURLOPT_SEEKDATA, static_cast<void*>(this));
    const auto size = static_cast<curl_off_t>(request_.body.size());
    if (put) {
      set(handle, CURLOPT_UPLOAD, 1L);
      set(handle, CURLOPT_INFILESIZE_LARGE, size);
    } else {
      set(handle, CURLOPT_POST, 1L);
      set(handle, CURLOPT_POSTFIELDSIZE_LARGE, size);
    }
    // Without a body there is nothing to rewind, so that refusing to rewind would not stop a second
    // sending: only a new connection does.
    if (!request_.may_resend && size == 0) set(handle, CURLOPT_FRESH_CONNECT, 1L);
  } else if (request_.method == "HEAD") {
    set(handle, CURLOPT_NOBODY, 1L);
  } else {
    set(handle, CURLOPT_HTTPGET, 1L);
    if (request_.method != "GET") set(handle, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }
}

Status CurlTransfer::set_headers() {
  const auto add = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(header_list_.get(), line.c_str());
    if (longer == nullptr) return false;
    (void)header_list_.release();
    header_list_.reset(longer);
    return true;
  };
  bool ok = add("Expect:");
  bool has_type = false;
  for (const HttpHeader& h : request_.headers) {
    if (breaks_a_header(h.name) || breaks_a_header(h.value))
      return fail(Errc::kInvalid, "the value of the HTTP header " + h.name.substr(0, 64) +
                                      " has a line break in it");
    has_type = has_type || h.name == "content-type";
    ok = ok && add(h.value.empty() ? h.name + ";" : h.name + ": " + h.value);
  }
  if (!has_type) ok = ok && add("Content-Type:");  // curl would make one up for a POST
  if (!ok) return fail(Errc::kTransient, "no memory for the request's headers");
  set(handle_, CURLOPT_HTTPHEADER, header_list_.get());
  return {};
}

size_t CurlTransfer::on_read(char* out, size_t size, size_t count, void* self) {
  auto& t = *static_cast<CurlTransfer*>(self);
  const MutableBytes target(reinterpret_cast<std::byte*>(out), size * count);
  auto n = t.request_.body.read_at(t.sent_, target);
  if (!n) {
    t.failure_ = std::move(n).error().wrap("reading what was to be sent");
    return CURL_READFUNC_ABORT;
  }
  t.sent_ += *n;
  return *n;
}

int CurlTransfer::on_seek(void* self, curl_off_t offset, int origin) {
  auto& t = *static_cast<CurlTransfer*>(self);
  if (!t.request_.may_resend || origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_FAIL;
  t.sent_ = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

size_t CurlTransfer::on_header(char* line, size_t size, size_t count, void* self) {
  return static_cast<CurlTransfer*>(self)->add_header_line({line, size * count});
}

size_t CurlTransfer::add_header_line(std::string_view line) {
  const size_t taken = line.size();
  if (line.starts_with("HTTP/")) {  // a final status after an interim one starts anew
    response_.headers.clear();
    header_bytes_ = 0;
    return taken;
  }
  header_bytes_ += taken;
  if (header_bytes_ > kMaxHeaderBytes) {
    failure_ = Error(Errc::kIo, "the answer's headers are longer than 128 KiB");
    return 0;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return taken;
  response_.headers.push_back({std::string(trim_header(line.substr(0, colon))),
                               std::string(trim_header(line.substr(colon + 1)))});
  return taken;
}

size_t CurlTransfer::on_body(char* data, size_t size, size_t count, void* self) {
  return static_cast<CurlTransfer*>(self)->add_body(as_bytes({data, size * count}));
}

size_t CurlTransfer::add_body(Bytes data) {
  ByteVec& body = response_.body;
  if (data.size() > request_.max_response_bytes - body.size()) {
    failure_ = Error(Errc::kIo, "the answer is longer than the " +
                                    std::to_string(request_.max_response_bytes) +
                                    " bytes that were asked for");
    return 0;
  }
  if (body.empty() && request_.expected_response_bytes > data.size()) {
    curl_off_t declared = -1;
    curl_easy_getinfo(handle_, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &declared);
    if (declared > 0) {
      body =
          memory_->take(std::min({static_cast<uint64_t>(declared), request_.expected_response_bytes,
                                  request_.max_response_bytes}));
      response_.pool = memory_;
    }
  }
  append(body, data);
  return data.size();
}

std::optional<Error> CurlTransfer::given_up(Clock& clock) const {
  if (request_.context.cancel.cancelled())
    return Error(Errc::kCancelled,
                 "the request to " + std::string(host_of(request_.url)) + " was given up");
  if (request_.context.deadline.passed(clock))
    return Error(Errc::kTimeout,
                 "no answer from " + std::string(host_of(request_.url)) + " in the time allowed");
  return std::nullopt;
}

Result<HttpResponse> CurlTransfer::take_result(CURLcode code, Clock& clock) {
  if (failure_) return tl::unexpected<Error>(std::move(*failure_));
  if (code != CURLE_OK) return tl::unexpected<Error>(error_for(code, clock));
  long status = 0;
  curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
  response_.status = static_cast<int>(status);
  return std::move(response_);
}

Error CurlTransfer::error_for(CURLcode code, Clock& clock) const {
  const std::string host(host_of(request_.url));
  std::string why = detail_[0] != '\0' ? detail_.data() : curl_easy_strerror(code);
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      // libcurl counts in milliseconds of its own clock: it may be a little early.
      if (request_.context.deadline.left(clock) < kTimerSlack)
        return {Errc::kTimeout, "no answer from " + host + " in the time allowed"};
      return {Errc::kTransient, "no answer from " + host + ": " + why};
    case CURLE_URL_MALFORMAT:
      return Error(Errc::kInvalid,
                   "'" + request_.url.substr(0, 200) + "' is not a usable URL: " + why);
    case CURLE_PEER_FAILED_VERIFICATION:
      return {Errc::kPermission, "the TLS certificate of " + host + " cannot be trusted (" + why +
                                     "); name the right CA with --ca-bundle"};
    case CURLE_SSL_CACERT_BADFILE:
      return {Errc::kPermission, "the CA bundle cannot be used: " + why};
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return Error(Errc::kTransient, "cannot connect to " + host + ": " + why).with_no_effect();
    case CURLE_SSL_CONNECT_ERROR:
      return Error(Errc::kTransient, "no TLS connection with " + host + ": " + why)
          .with_no_effect();
    case CURLE_PARTIAL_FILE:
      return {Errc::kTransient, "the answer of " + host + " was cut off: " + why};
    default:
      return {Errc::kTransient, "the connection with " + host + " failed: " + why};
  }
}

}  // namespace cairn
