// SPDX-License-Identifier: Apache-2.0
//
// With the real worker program, named by the first argument.

#include "manager/render/worker_renderer.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/env/posix/posix_subprocess.h"
#include "common/env/subprocess.h"
#include "common/event/real_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/render/default_facts.h"
#include "manager/render/manifest_builder.h"

namespace flotilla::manager {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kEndless[] =
    "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}";

std::string* worker_path = nullptr;

class WorkerRendererTest : public ::testing::Test {
 protected:
  WorkerRendererTest() { options_.worker_path = *worker_path; }

  void Make() {
    renderer_ = std::make_unique<WorkerRenderer>(loop_, subprocesses_,
                                                 options_);
  }

  static render::v1::RenderRequest Chart(const std::string& text) {
    render::v1::RenderRequest request;
    render::v1::File* file = request.add_files();
    file->set_name("Chart.yaml");
    file->set_content("apiVersion: v2\nname: app\nversion: 1.0.0\n");
    file = request.add_files();
    file->set_name("templates/a.yaml");
    file->set_content(text);
    request.set_release_name("rel");
    request.set_namespace_("web");
    request.set_kube_version("v1.36.3");
    request.set_random_seed(std::string(32, 's'));
    return request;
  }

  static std::string ConfigMap(const std::string& value) {
    return absl::StrCat(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: ",
        value, "}\n");
  }

  absl::StatusOr<render::v1::RenderResponse> Render(const std::string& text) {
    absl::StatusOr<render::v1::RenderResponse> got =
        absl::UnknownError("no answer");
    renderer_->Render(Chart(text),
                      [&](absl::StatusOr<render::v1::RenderResponse> r) {
                        got = std::move(r);
                        loop_.Stop();
                      });
    loop_.RunUntilStopped();
    return got;
  }

  RealLoop loop_;
  PosixSubprocesses subprocesses_;
  WorkerRendererOptions options_;
  std::unique_ptr<WorkerRenderer> renderer_;
};

// Counts how many processes are started, and can kill the last one.
class CountingSubprocesses final : public Subprocesses {
 public:
  explicit CountingSubprocesses(Subprocesses& real) : real_(real) {}

  absl::StatusOr<std::unique_ptr<Subprocess>> Start(
      const SubprocessOptions& options) override {
    absl::StatusOr<std::unique_ptr<Subprocess>> started = real_.Start(options);
    if (started.ok()) {
      pid_ = static_cast<pid_t>((*started)->pid());
      ++count_;
    }
    return started;
  }

  int count() const { return count_; }
  pid_t pid() const { return pid_; }

 private:
  Subprocesses& real_;
  std::atomic<int> count_{0};
  std::atomic<pid_t> pid_{0};
};

TEST_F(WorkerRendererTest, RendersWithOneWarmProcess) {
  CountingSubprocesses counting(subprocesses_);
  // With more, a request may find the one before not quite over.
  options_.max_workers = 1;
  renderer_ = std::make_unique<WorkerRenderer>(loop_, counting, options_);
  EXPECT_EQ(counting.count(), 0);
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<render::v1::RenderResponse> got =
        Render(ConfigMap(absl::StrCat("\"", i, "\"")));
    ASSERT_THAT(got, IsOk());
    ASSERT_EQ(got->objects_size(), 1) << got->DebugString();
    EXPECT_THAT(got->objects(0).json(), HasSubstr(absl::StrCat("\"v\":\"", i)));
  }
  EXPECT_EQ(counting.count(), 1);
  EXPECT_EQ(renderer_->running_workers(), 1);
  renderer_ = nullptr;
}

TEST_F(WorkerRendererTest, AnswersManyRequestsWithFewProcesses) {
  Make();
  int left = 20;
  for (int i = 0; i < 20; ++i) {
    renderer_->Render(Chart(ConfigMap(absl::StrCat("\"n", i, "\""))),
                      [&, i](absl::StatusOr<render::v1::RenderResponse> got) {
                        ASSERT_THAT(got, IsOk());
                        EXPECT_THAT(got->objects(0).json(),
                                    HasSubstr(absl::StrCat("n", i, "\"")));
                        if (--left == 0) loop_.Stop();
                      });
  }
  loop_.RunUntilStopped();
  EXPECT_LE(renderer_->running_workers(), 2);
}

TEST_F(WorkerRendererTest, PassesErrorsOfChartsOn) {
  Make();
  absl::StatusOr<render::v1::RenderResponse> got =
      Render("a: b\nc: {{ .Values.x.y }}\n");
  ASSERT_THAT(got, IsOk());
  EXPECT_EQ(got->error().file(), "templates/a.yaml");
  EXPECT_EQ(got->error().line(), 2u);
}

TEST_F(WorkerRendererTest, SurvivesAChartThatEatsMemory) {
  options_.max_memory_mib = 200;
  Make();
  EXPECT_THAT(Render(ConfigMap("{{ repeat 1000000000 \"x\" }}")),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("200 MiB")));
  EXPECT_THAT(Render(ConfigMap("x")), IsOk());
}

TEST_F(WorkerRendererTest, KillsAWorkerThatDoesNotAnswerInTime) {
  options_.timeout = absl::Milliseconds(1500);
  Make();
  EXPECT_THAT(
      Render(kEndless),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("1.5s"), HasSubstr("too much to do"))));
  EXPECT_EQ(renderer_->running_workers(), 0);
  EXPECT_THAT(Render(ConfigMap("x")), IsOk());
}

TEST_F(WorkerRendererTest, EndsAProcessWithNothingToDo) {
  options_.idle_timeout = absl::Milliseconds(20);
  Make();
  EXPECT_THAT(Render(ConfigMap("x")), IsOk());
  std::unique_ptr<Timer> timer;
  timer = loop_.CreateTimer([&] {
    if (renderer_->running_workers() == 0) {
      loop_.Stop();
    } else {
      timer->Arm(absl::Milliseconds(5));
    }
  });
  timer->Arm(absl::Milliseconds(5));
  loop_.RunUntilStopped();
  EXPECT_THAT(Render(ConfigMap("x")), IsOk());
}

TEST_F(WorkerRendererTest, MakesTheManifestOfAChartAndOfRawTemplates) {
  Make();
  const std::string templ =
      "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n"
      "  name: {{ .Release.Name }}-web\nspec:\n"
      "  replicas: {{ .Values.replicas }}\n";
  for (const bool is_chart : {true, false}) {
    RenderInput input;
    input.workspace = "fleet-default";
    input.bundle_name = "sample";
    input.bundle_id = "id";
    input.revision = "0123456789abcdef";
    input.facts = DefaultClusterFacts();
    input.random_seed = std::string(32, 's');
    input.options.set_default_namespace("web");
    input.options.mutable_helm()->set_values_json(R"({"replicas":3})");
    if (is_chart) {
      input.files.push_back(
          {"Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n"});
      input.files.push_back({"values.yaml", "replicas: 1\n"});
    } else {
      input.files.push_back({"raw.yaml", ConfigMap("'{{ not a template }}'")});
    }
    input.files.push_back({"templates/web.yaml", templ});
    RenderPlan plan = PlanRender(input);
    ASSERT_TRUE(plan.request.has_value());
    render::v1::RenderResponse response;
    renderer_->Render(*plan.request,
                      [&](absl::StatusOr<render::v1::RenderResponse> r) {
                        ASSERT_THAT(r, IsOk());
                        response = *std::move(r);
                        loop_.Stop();
                      });
    loop_.RunUntilStopped();

    const BuiltManifest built = BuildManifest(input, plan, &response);

    ASSERT_TRUE(built.problems.empty())
        << built.problems[0].ShortDebugString();
    ASSERT_EQ(built.manifest.entries_size(), is_chart ? 2 : 3);
    const core::v1::ManifestEntry& web =
        built.manifest.entries(built.manifest.entries_size() - 1);
    EXPECT_EQ(web.key().name(), "sample-web");
    EXPECT_EQ(web.key().namespace_(), "web");
    EXPECT_EQ(web.source_file(), "templates/web.yaml");
    bool found = false;
    for (const ManifestBlob& blob : built.blobs) {
      found = found || blob.bytes.find("\"spec\":{\"replicas\":3}") !=
                           std::string::npos;
    }
    EXPECT_TRUE(found);
  }
}

TEST_F(WorkerRendererTest, ReplacesAProcessThatWasKilledWhileItWasIdle) {
  CountingSubprocesses counting(subprocesses_);
  renderer_ = std::make_unique<WorkerRenderer>(loop_, counting, options_);
  ASSERT_THAT(Render(ConfigMap("x")), IsOk());
  ASSERT_EQ(::kill(counting.pid(), SIGKILL), 0);
  EXPECT_THAT(Render(ConfigMap("x")), IsOk());
  EXPECT_EQ(counting.count(), 2);
}

TEST_F(WorkerRendererTest, GivesUpOnARequestThatKillsTwoProcesses) {
  options_.max_workers = 1;
  options_.max_memory_mib = 200;
  CountingSubprocesses counting(subprocesses_);
  renderer_ = std::make_unique<WorkerRenderer>(loop_, counting, options_);
  // Those that wait behind it are served by another process.
  std::vector<std::string> answers;
  const auto ask = [&](const std::string& text) {
    renderer_->Render(Chart(text),
                      [&](absl::StatusOr<render::v1::RenderResponse> got) {
                        answers.push_back(
                            absl::StatusCodeToString(got.status().code()));
                        if (answers.size() == 5) loop_.Stop();
                      });
  };
  ask(ConfigMap("first"));
  ask(ConfigMap("{{ repeat 1000000000 \"x\" }}"));
  for (int i = 0; i < 3; ++i) ask(ConfigMap("behind"));
  loop_.RunUntilStopped();
  EXPECT_THAT(answers,
              ElementsAre("OK", "RESOURCE_EXHAUSTED", "OK", "OK", "OK"));
  EXPECT_EQ(counting.count(), 3);
}

// What only the kernel or a watch over the time can end, one after another.
TEST_F(WorkerRendererTest, OutlivesChartsThatOnlyForceEnds) {
  options_.max_workers = 1;
  options_.max_memory_mib = 300;
  options_.max_cpu_time = absl::Seconds(1);
  Make();
  const struct {
    const char* name;
    std::string text;
  } kCharts[] = {
      {"a loop", kEndless},
      {"a text that doubles",
       "{{ $x := \"xxxxxxxx\" }}{{ range until 40 }}"
       "{{ $x = printf \"%s%s\" $x $x }}{{ end }}"},
      {"a long text", ConfigMap("{{ repeat 1000000000 \"x\" }}")},
      {"a tpl of itself",
       "{{ define \"r\" }}{{ tpl \"{{ include \\\"r\\\" . }}\" . }}{{ end }}"
       "{{ include \"r\" . }}"},
      {"a list without end",
       "{{ $l := list }}{{ range until 100000 }}"
       "{{ $l = append $l (until 10000) }}{{ end }}"},
      {"an expression without end",
       "{{ range until 100000 }}{{ regexMatch \"(a{1,1000}){1,1000}\" "
       "\"aaaa\" }}{{ range until 100000 }}{{ end }}{{ end }}"},
      {"big numbers",
       "{{ range until 1000000 }}{{ derivePassword 1 \"long\" \"a\" \"b\" "
       "\"c\" }}{{ end }}"},
  };
  for (const auto& chart : kCharts) {
    SCOPED_TRACE(chart.name);
    absl::StatusOr<render::v1::RenderResponse> got = Render(chart.text);
    EXPECT_TRUE(!got.ok() || got->has_error());
    if (got.ok()) {
      EXPECT_EQ(got->objects_size(), 0);
    } else {
      EXPECT_THAT(got.status(),
                  StatusIs(absl::StatusCode::kResourceExhausted, _));
    }
    EXPECT_THAT(Render(ConfigMap("x")), IsOk());
  }
}

TEST_F(WorkerRendererTest, SaysWhatTookTooMuchCpuTime) {
  options_.max_cpu_time = absl::Milliseconds(300);
  Make();
  absl::StatusOr<render::v1::RenderResponse> got = Render(kEndless);
  ASSERT_THAT(got, IsOk());
  EXPECT_THAT(got->error().message(),
              HasSubstr("rendering the chart took more than 300ms"));
}

TEST_F(WorkerRendererTest, LetsReleasesTakeTurns) {
  options_.max_workers = 1;
  Make();
  std::vector<std::string> order;
  const auto ask = [&](const std::string& release) {
    render::v1::RenderRequest request = Chart(ConfigMap("x"));
    request.set_release_name(release);
    renderer_->Render(std::move(request),
                      [&, release](absl::StatusOr<render::v1::RenderResponse>) {
                        order.push_back(release);
                        if (order.size() == 8) loop_.Stop();
                      });
  };
  // Until the process has started, all are in line.
  for (int i = 0; i < 6; ++i) ask("large");
  ask("small");
  ask("other");
  loop_.RunUntilStopped();
  const auto place = [&](const std::string& release) {
    return std::find(order.begin(), order.end(), release) - order.begin();
  };
  EXPECT_LE(place("small"), 2);
  EXPECT_LE(place("other"), 3);
}

TEST_F(WorkerRendererTest, ChecksWhetherTheWorkerCanWork) {
  EXPECT_THAT(CheckRenderWorker(subprocesses_, *worker_path), IsOk());
  EXPECT_THAT(
      CheckRenderWorker(subprocesses_, "/nonexistent/worker"),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("charts and kustomizations cannot be rendered"),
                     HasSubstr("/nonexistent/worker"),
                     HasSubstr("beside this program"))));
  EXPECT_THAT(CheckRenderWorker(subprocesses_, "/bin/false"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("/bin/false --check: exit code 1")));
}

TEST_F(WorkerRendererTest, SaysWhichProgramCannotBeStarted) {
  options_.worker_path = "/nonexistent/worker";
  Make();
  absl::StatusOr<render::v1::RenderResponse> got = Render(ConfigMap("x"));
  EXPECT_FALSE(got.ok());
  EXPECT_THAT(std::string(got.status().message()),
              HasSubstr("/nonexistent/worker"));
}

TEST_F(WorkerRendererTest, EndsWhileItRenders) {
  Make();
  bool called = false;
  renderer_->Render(
      Chart(kEndless),
      [&](absl::StatusOr<render::v1::RenderResponse>) { called = true; });
  renderer_->Render(
      Chart(ConfigMap("x")),
      [&](absl::StatusOr<render::v1::RenderResponse>) { called = true; });
  renderer_.reset();
  loop_.Post([&] { loop_.Stop(); });
  loop_.RunUntilStopped();
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace flotilla::manager

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc < 2) return 1;
  flotilla::manager::worker_path = new std::string(argv[1]);
  return RUN_ALL_TESTS();
}
