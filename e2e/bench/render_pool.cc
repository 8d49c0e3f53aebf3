// SPDX-License-Identifier: Apache-2.0
//
// Measures how long the manager waits for a chart: a warm WorkerRenderer, one
// request at a time, then as many at once as there are processes.
//
//   render_pool WORKER FOLDER ROUNDS

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/env/posix/posix_subprocess.h"
#include "common/event/real_loop.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/render/worker_renderer.h"

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using flotilla::render::v1::File;
using flotilla::render::v1::RenderRequest;
using flotilla::render::v1::RenderResponse;

double Microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

RenderRequest ReadChart(const fs::path& folder) {
  RenderRequest request;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    File* added = request.add_files();
    added->set_name(fs::relative(entry.path(), folder).generic_string());
    added->set_content(std::string(std::istreambuf_iterator<char>(file), {}));
  }
  request.set_release_name("bench");
  request.set_namespace_("bench");
  request.set_kube_version("v1.36.3");
  request.add_api_versions("v1");
  request.set_random_seed(std::string(32, 's'));
  return request;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: render_pool WORKER FOLDER ROUNDS\n");
    return 1;
  }
  const size_t rounds = std::strtoul(argv[3], nullptr, 10);
  const RenderRequest request = ReadChart(argv[2]);
  flotilla::RealLoop loop;
  flotilla::PosixSubprocesses subprocesses;
  flotilla::manager::WorkerRendererOptions options;
  options.worker_path = argv[1];
  flotilla::manager::WorkerRenderer renderer(loop, subprocesses, options);

  bool failed = false;
  int objects = 0;
  std::vector<double> took;
  const auto ask = [&] {
    const Clock::time_point began = Clock::now();
    renderer.Render(request, [&, began](absl::StatusOr<RenderResponse> got) {
      took.push_back(Microseconds(Clock::now() - began));
      failed = failed || !got.ok() || got->has_error();
      if (!failed) objects = got->objects_size();
      loop.Stop();
    });
  };
  ask();
  loop.RunUntilStopped();
  const double cold = took[0];
  // The process warms up, too: its heap grows, its code is paged in.
  for (size_t i = 0; i < std::max<size_t>(rounds / 5, 1); ++i) {
    ask();
    loop.RunUntilStopped();
  }
  took.clear();
  for (size_t i = 0; i < rounds; ++i) {
    ask();
    loop.RunUntilStopped();
  }
  std::sort(took.begin(), took.end());
  const double median = took[took.size() / 2];

  const Clock::time_point began = Clock::now();
  took.clear();
  for (size_t i = 0; i < rounds; ++i) ask();
  while (took.size() < rounds) loop.RunUntilStopped();
  const double throughput =
      static_cast<double>(rounds) * 1e6 / Microseconds(Clock::now() - began);
  if (failed) {
    std::fprintf(stderr, "render_pool: the chart did not render\n");
    return 1;
  }
  std::printf(
      "{\"median_us\": %.1f, \"cold_us\": %.1f, \"per_second\": %.1f, "
      "\"processes\": %d, \"objects\": %d}\n",
      median, cold, throughput, renderer.running_workers(), objects);
  return 0;
}
