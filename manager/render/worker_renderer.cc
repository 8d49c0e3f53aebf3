// SPDX-License-Identifier: Apache-2.0

#include "manager/render/worker_renderer.h"

#include <algorithm>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status/status_macros.h"
#include "manager/helper/frames.h"

namespace flotilla::manager {
namespace {

// As the worker's own limit.
constexpr uint64_t kMaxRequestBytes = 128 << 20;
// Around the objects in an answer.
constexpr uint64_t kAnswerOverhead = 1 << 20;
constexpr absl::Duration kExitTimeout = absl::Seconds(2);
constexpr absl::Duration kCheckTimeout = absl::Seconds(10);
constexpr size_t kMaxCheckOutput = 2000;
// Go's runtime ends with it when memory or stack run out.
constexpr int kGoFatalExit = 2;
// The worker's own, see main.go.
constexpr int kNoSandboxExit = 3;

WorkerRendererOptions WithDefaults(WorkerRendererOptions options) {
  if (options.max_workers <= 0) {
    options.max_workers =
        std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  return options;
}

}  // namespace

absl::Status CheckRenderWorker(Subprocesses& subprocesses,
                               const std::string& worker_path) {
  constexpr absl::string_view kConsequence =
      "charts and kustomizations cannot be rendered: ";
  SubprocessOptions child;
  child.argv = {worker_path, "--check"};
  child.error_output = SubprocessOptions::Stderr::kToStdout;
  child.isolate_network = true;
  absl::StatusOr<std::unique_ptr<Subprocess>> process =
      subprocesses.Start(child);
  if (!process.ok()) {
    return absl::Status(
        process.status().code(),
        absl::StrCat(kConsequence, process.status().message(),
                     ". Install flotilla-render-worker beside this program"));
  }
  std::string said;
  while (said.size() < kMaxCheckOutput) {
    absl::StatusOr<std::string> more =
        (*process)->Read(kMaxCheckOutput, kCheckTimeout);
    if (!more.ok() || more->empty()) break;
    said += *more;
  }
  absl::StatusOr<Subprocess::Exit> exit = (*process)->Wait(kCheckTimeout);
  if (exit.ok() && exit->ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      kConsequence, worker_path, " --check: ",
      exit.ok() ? exit->ToString() : std::string(exit.status().message()),
      said.empty() ? "" : ", ", absl::StripAsciiWhitespace(said)));
}

WorkerRenderer::WorkerRenderer(Loop& loop, Subprocesses& subprocesses,
                               WorkerRendererOptions options)
    : options_(WithDefaults(std::move(options))),
      loop_(loop),
      subprocesses_(subprocesses),
      pool_({options_.max_workers, options_.max_workers,
             options_.idle_timeout}) {}

WorkerRenderer::~WorkerRenderer() { *alive_ = false; }

void WorkerRenderer::Render(render::v1::RenderRequest request, Done done) {
  request.set_id(next_id_++);
  const std::string release =
      absl::StrCat(request.namespace_(), "/", request.release_name());
  pool_.Submit(release, [this, request = std::move(request),
                         done = std::move(done)](
                            ProcessPool::Slot& slot) mutable {
    loop_.Post([alive = alive_, response = Serve(request, slot),
                done = std::move(done)]() mutable {
      if (*alive) done(std::move(response));
    });
  });
}

absl::StatusOr<render::v1::RenderResponse> WorkerRenderer::Serve(
    const render::v1::RenderRequest& request, ProcessPool::Slot& slot) {
  if (request.ByteSizeLong() > kMaxRequestBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the chart and its values have more than ",
                     kMaxRequestBytes >> 20, " MiB"));
  }
  ASSIGN_OR_RETURN(const std::string frame, EncodeFrame(request));

  for (;;) {
    const bool warm = slot.process() != nullptr;
    if (!warm) {
      SubprocessOptions child;
      child.argv = {options_.worker_path,
                    absl::StrCat("--max-memory-mib=", options_.max_memory_mib),
                    absl::StrCat("--max-answer-mib=", options_.max_answer_mib),
                    absl::StrCat("--max-cpu=", absl::ToInt64Milliseconds(
                                                   options_.max_cpu_time),
                                 "ms")};
      child.error_output = SubprocessOptions::Stderr::kDiscard;
      child.isolate_network = true;
      absl::StatusOr<std::unique_ptr<Subprocess>> started =
          subprocesses_.Start(child);
      if (!started.ok()) {
        return absl::UnavailableError(absl::StrCat(
            "starting the render worker: ", started.status().message()));
      }
      slot.SetProcess(*std::move(started));
    }
    absl::StatusOr<render::v1::RenderResponse> response =
        Ask(frame, *slot.process());
    if (response.ok() && response->id() == request.id()) return response;

    if (response.ok()) {
      response = absl::UnavailableError(
          "the render worker answered another question than was asked");
    }
    slot.SetProcess(nullptr);
    if (absl::IsDeadlineExceeded(response.status())) {
      // A chart that loops comes to its CPU time first.
      return absl::UnavailableError(absl::StrCat(
          "the chart did not render within ",
          absl::FormatDuration(options_.timeout),
          ", nor use up ", absl::FormatDuration(options_.max_cpu_time),
          " of CPU time: does this machine have too much to do?"));
    }
    // A process that died while it had nothing to do is not the chart's fault.
    if (warm) continue;
    return response;
  }
}

absl::StatusOr<render::v1::RenderResponse> WorkerRenderer::Ask(
    const std::string& frame, Subprocess& process) {
  // The worker reads all of a frame at once and writes all of its answer at
  // once: what takes time is between the two.
  render::v1::RenderResponse response;
  absl::Status status = process.Write(frame, options_.timeout);
  if (status.ok()) {
    status =
        ReadFrame(process, (options_.max_answer_mib << 20) + kAnswerOverhead,
                  options_.timeout, response);
  }
  if (absl::IsDataLoss(status)) {
    return absl::UnavailableError(
        absl::StrCat("the render worker ", status.message()));
  }
  if (absl::IsUnavailable(status)) {
    absl::StatusOr<Subprocess::Exit> exit = process.Wait(kExitTimeout);
    if (exit.ok() && exit->signal == SIGKILL) {
      return absl::UnavailableError(absl::StrCat(
          "the render worker was killed (", exit->ToString(),
          "): is this machine short of memory?"));
    }
    if (exit.ok() && (exit->code == kGoFatalExit || exit->signal != 0)) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the chart did not render within ", options_.max_memory_mib,
          " MiB of memory (render worker: ", exit->ToString(),
          "): look for a template that repeats or includes itself"));
    }
    if (exit.ok() && exit->code == kNoSandboxExit) {
      return absl::UnavailableError(absl::StrCat(
          "the render worker cannot shut itself off from network and files on "
          "this machine, and does not render without: ",
          options_.worker_path, " --check says more"));
    }
    return absl::UnavailableError(absl::StrCat(
        "the render worker ended: ",
        exit.ok() ? exit->ToString() : std::string(exit.status().message())));
  }
  RETURN_IF_ERROR(status);
  return response;
}

}  // namespace flotilla::manager
