#include "tools/client.h"

namespace cairn {

namespace {

tl::unexpected<Error> not_mounted(const std::string& path) {
  return fail(Errc::kNotFound, path +
                                   " is not a mount of cairn, or its daemon is gone (then: "
                                   "fusermount3 -uz " +
                                   path + ")");
}

}  // namespace

Result<std::unique_ptr<ControlClient>> connect_to(const std::string& path,
                                                  std::string& mountpoint) {
  TRY_ASSIGN(std::string at, canonical_mountpoint(path));
  while (true) {
    TRY_ASSIGN(const std::string socket, control_path(at));
    if (auto client = ControlClient::connect(socket)) {
      mountpoint = at;
      return client;
    }
    const size_t slash = at.rfind('/');
    if (at == "/" || slash == std::string::npos) return not_mounted(path);
    at = slash == 0 ? "/" : at.substr(0, slash);
  }
}

Result<Json> ask(ControlClient& client, const Json& request,
                 const std::function<void(const Json&)>& progress) {
  TRY(client.send(request));
  while (true) {
    TRY_ASSIGN(Json answer, client.receive());
    if (answer.contains("progress")) {
      if (progress) progress(answer["progress"]);
      continue;
    }
    if (!answer.value("ok", false))
      return fail(Errc::kIo, answer.value("error", "the daemon refused"));
    return answer;
  }
}

}  // namespace cairn
