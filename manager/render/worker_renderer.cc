// SPDX-License-Identifier: Apache-2.0

#include "manager/render/worker_renderer.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

constexpr size_t kHeaderBytes = 4;
// As the worker's own limit.
constexpr uint64_t kMaxRequestBytes = 128 << 20;
constexpr absl::Duration kExitTimeout = absl::Seconds(2);
constexpr absl::Duration kCheckTimeout = absl::Seconds(10);
constexpr size_t kMaxCheckOutput = 2000;
// Go's runtime ends with it when memory or stack run out.
constexpr int kGoFatalExit = 2;
// The worker's own, see main.go.
constexpr int kNoSandboxExit = 3;

// The request with its length before it.
absl::StatusOr<std::string> Frame(const render::v1::RenderRequest& request) {
  const size_t size = request.ByteSizeLong();
  if (size > kMaxRequestBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the chart and its values have more than ",
                     kMaxRequestBytes >> 20, " MiB"));
  }
  std::string frame(kHeaderBytes + size, '\0');
  for (size_t i = 0; i < kHeaderBytes; ++i) {
    frame[i] = static_cast<char>((size >> (24 - 8 * i)) & 0xff);
  }
  if (!request.SerializeToArray(&frame[kHeaderBytes],
                                static_cast<int>(size))) {
    return absl::InternalError("the request cannot be encoded");
  }
  return frame;
}

uint64_t ParseHeader(const std::string& header) {
  uint64_t size = 0;
  for (char c : header) size = size << 8 | static_cast<unsigned char>(c);
  return size;
}

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
      subprocesses_(subprocesses) {}

WorkerRenderer::~WorkerRenderer() {
  *alive_ = false;
  std::vector<std::unique_ptr<Slot>> slots;
  std::map<std::string, std::deque<Job>> dropped;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    dropped.swap(lines_);
    for (const std::unique_ptr<Slot>& slot : slots_) {
      if (slot->process != nullptr) slot->process->Kill();
    }
    slots.swap(slots_);
  }
  for (const std::unique_ptr<Slot>& slot : slots) slot->thread.join();
}

void WorkerRenderer::Render(render::v1::RenderRequest request, Done done) {
  request.set_id(next_id_++);
  absl::MutexLock lock(&mu_);
  Enqueue({std::move(request), std::move(done)});
  const bool all_busy = static_cast<size_t>(idle_threads_) < waiting_;
  if (all_busy && slots_.size() < static_cast<size_t>(options_.max_workers)) {
    slots_.push_back(std::make_unique<Slot>());
    Slot* slot = slots_.back().get();
    slot->thread = std::thread([this, slot] { RunSlot(slot); });
  }
}

void WorkerRenderer::Enqueue(Job job) {
  const std::string key = absl::StrCat(job.request.namespace_(), "/",
                                       job.request.release_name());
  std::deque<Job>& line = lines_[key];
  if (line.empty()) turns_.push_back(key);
  line.push_back(std::move(job));
  ++waiting_;
}

WorkerRenderer::Job WorkerRenderer::Dequeue() {
  std::string key = std::move(turns_.front());
  turns_.pop_front();
  const auto it = lines_.find(key);
  Job job = std::move(it->second.front());
  it->second.pop_front();
  if (it->second.empty()) {
    lines_.erase(it);
  } else {
    turns_.push_back(std::move(key));
  }
  --waiting_;
  return job;
}

int WorkerRenderer::running_workers() const {
  absl::MutexLock lock(&mu_);
  int running = 0;
  for (const std::unique_ptr<Slot>& slot : slots_) {
    running += slot->process != nullptr ? 1 : 0;
  }
  return running;
}

bool WorkerRenderer::NextJob(bool has_process, Job* job, bool* idle) {
  absl::MutexLock lock(&mu_);
  ++idle_threads_;
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || waiting_ > 0;
  };
  *idle = !mu_.AwaitWithTimeout(
      absl::Condition(&ready),
      has_process ? options_.idle_timeout : absl::InfiniteDuration());
  --idle_threads_;
  if (stopping_) return false;
  if (*idle) return true;
  *job = Dequeue();
  return true;
}

void WorkerRenderer::RunSlot(Slot* slot) {
  std::unique_ptr<Subprocess> process;
  Job job;
  bool idle = false;
  while (NextJob(process != nullptr, &job, &idle)) {
    if (idle) {
      SetProcess(slot, &process, nullptr);
      continue;
    }
    absl::StatusOr<render::v1::RenderResponse> response =
        Serve(job.request, slot, &process);
    job.request.Clear();
    loop_.Post([alive = alive_, response = std::move(response),
                done = std::move(job.done)]() mutable {
      if (*alive) done(std::move(response));
    });
  }
  SetProcess(slot, &process, nullptr);
}

void WorkerRenderer::SetProcess(Slot* slot,
                                std::unique_ptr<Subprocess>* process,
                                std::unique_ptr<Subprocess> replacement) {
  std::unique_ptr<Subprocess> ended;
  {
    absl::MutexLock lock(&mu_);
    slot->process = replacement.get();
    // The destructor has killed what it saw; what comes later ends here.
    if (stopping_ && replacement != nullptr) replacement->Kill();
    ended = std::move(*process);
    *process = std::move(replacement);
  }
}

absl::StatusOr<render::v1::RenderResponse> WorkerRenderer::Serve(
    const render::v1::RenderRequest& request, Slot* slot,
    std::unique_ptr<Subprocess>* process) {
  ASSIGN_OR_RETURN(const std::string frame, Frame(request));

  for (;;) {
    const bool warm = *process != nullptr;
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
      ASSIGN_OR_RETURN(std::unique_ptr<Subprocess> started,
                       subprocesses_.Start(child),
                       _ << "starting the render worker");
      SetProcess(slot, process, std::move(started));
    }
    absl::StatusOr<render::v1::RenderResponse> response =
        Ask(frame, process->get());
    if (response.ok() && response->id() == request.id()) return response;

    if (response.ok()) {
      response = absl::UnavailableError(
          "the render worker answered another question than was asked");
    } else if (absl::IsDeadlineExceeded(response.status())) {
      response = absl::DeadlineExceededError(absl::StrCat(
          "the chart did not render within ",
          absl::FormatDuration(options_.timeout),
          ": look for a template that loops"));
    }
    SetProcess(slot, process, nullptr);
    // A process that died while it had nothing to do is not the chart's fault.
    if (warm && !absl::IsDeadlineExceeded(response.status())) continue;
    return response;
  }
}

absl::StatusOr<render::v1::RenderResponse> WorkerRenderer::Ask(
    const std::string& frame, Subprocess* process) {
  // The worker reads all of a frame at once and writes all of its answer at
  // once: what takes time is between the two.
  absl::Status status = process->Write(frame, options_.timeout);
  absl::StatusOr<std::string> header;
  if (status.ok()) {
    header = process->ReadExactly(kHeaderBytes, options_.timeout);
    status = header.status();
  }
  if (absl::IsUnavailable(status)) {
    absl::StatusOr<Subprocess::Exit> exit = process->Wait(kExitTimeout);
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
  const uint64_t size = ParseHeader(*header);
  if (size > (options_.max_answer_mib << 20) + (1 << 20)) {
    return absl::UnavailableError(
        absl::StrCat("the render worker announced ", size, " bytes"));
  }
  ASSIGN_OR_RETURN(
      const std::string body,
      process->ReadExactly(static_cast<size_t>(size), options_.timeout));
  render::v1::RenderResponse response;
  if (!response.ParseFromString(body)) {
    return absl::UnavailableError(
        "the render worker's answer cannot be decoded");
  }
  return response;
}

}  // namespace flotilla::manager
