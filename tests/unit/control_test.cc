#include "tools/control.h"

#include <doctest/doctest.h>

#include "tests/support/temp_dir.h"

using namespace cairn;

namespace {

struct Served {
  explicit Served(ControlServer::Handler handler) {
    auto opened = ControlServer::open(dir / "s.sock", executor, std::move(handler));
    REQUIRE_MESSAGE(opened, opened.error().message());
    server = *std::move(opened);
  }
  Json answer(const Json& request) {
    const auto client = ControlClient::connect(dir / "s.sock");
    REQUIRE(client);
    REQUIRE((*client)->send(request));
    const auto got = (*client)->receive();
    return got ? *got : Json{{"none", got.error().message()}};
  }

  const TempDir dir;
  ThreadExecutor executor{"control-test", 3};
  std::unique_ptr<ControlServer> server;  // before its threads
};

}  // namespace

TEST_CASE("control: bytes that are no UTF-8 are replaced in requests and answers") {
  Served served([](const Json& request, const ControlServer::Progress& progress) {
    progress(Json{{"at", "\xff"}});
    return Json{{"ok", true}, {"name", "caf\xe9"}, {"asked", request["command"]}};
  });
  const auto client = ControlClient::connect(served.dir / "s.sock");
  REQUIRE(client);
  REQUIRE((*client)->send(Json{{"command", "x\xfe"}}));
  CHECK((*client)->receive().value()["progress"]["at"] == "\xef\xbf\xbd");
  const Json answer = (*client)->receive().value();
  CHECK(answer["name"] == "caf\xef\xbf\xbd");
  CHECK(answer["asked"] == "x\xef\xbf\xbd");
}

TEST_CASE(
    "control: a request whose fields are something else is refused, and the next one answered") {
  Served served([](const Json& request, const ControlServer::Progress&) {
    return Json{{"ok", true},
                {"command", request.value("command", "")},
                {"number", request.value("number", uint64_t{0})}};
  });
  for (const Json& odd : {Json{{"command", 1}}, Json{{"command", nullptr}},
                          Json{{"command", "a"}, {"number", "b"}}, Json{{"none", 1}}, Json(7)}) {
    CAPTURE(odd.dump());
    const Json answer = served.answer(odd);
    CHECK(answer.value("ok", true) == false);
    CHECK(answer.value("error", "").starts_with("not a request"));
  }
  const Json odd_wait{{"command", "a"}, {"wait_for_end", "yes"}};
  CHECK(served.answer(odd_wait)["ok"] == true);
  CHECK(served.answer(Json{{"command", "a"}, {"number", 3}})["number"] == 3);
}
