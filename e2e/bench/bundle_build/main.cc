// SPDX-License-Identifier: Apache-2.0
//
// How long a commit takes to become stored bundles: a repository of 1,000
// directories with ten files each, the real clone, blob store and database.
// Prints a table in milliseconds; ends with 1 when the first build takes longer
// than --limit_ms (0: whatever it takes).
//
//   bundle_build [--bundles=N] [--files=N] [--limit_ms=N]

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/blob/directory_blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/env/posix/posix_clock.h"
#include "common/env/posix/posix_random.h"
#include "common/event/real_loop.h"
#include "common/event/thread_worker_pool.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_controller.h"
#include "manager/gitsync/libgit2_repository.h"
#include "manager/store/records.h"
#include "manager/store/sqlite_store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;

constexpr char kWorkspace[] = "fleet-default";
constexpr char kName[] = "mono";

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::cerr << value.status() << std::endl;
  std::exit(2);
}

std::string FileText(int bundle, int file, int version) {
  std::string text = absl::StrCat(
      "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c-", bundle, "-",
      file, "\ndata:\n  version: \"", version, "\"\n");
  for (int i = 0; i < 12; ++i) {
    absl::StrAppend(&text, "  key", i, ": value number ", i, " of bundle ",
                    bundle, "\n");
  }
  return text;
}

class Bench {
 public:
  Bench(int bundles, int files) : bundles_(bundles), files_(files) {
    std::string name = (fs::temp_directory_path() / "flotilla-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      std::perror("mkdtemp");
      std::exit(2);
    }
    base_ = name;
    MakeRepository();
    box_ = OrDie(SealedBox::Create(base_ + "/key", random_));
    store_ =
        OrDie(SqliteStore::Open(loop_, random_, *box_, base_ + "/store.db"));
    blobs_ = OrDie(DirectoryBlobStore::Open(base_ + "/blobs", *box_));
    git_ = OrDie(
        Libgit2Repository::Create(workers_, clock_, random_, base_ + "/git"));
    documents_.emplace(*store_, kDocumentFamily);
    sources_.emplace(*store_, kSourceFamily);
    builds_ = std::make_unique<TypedMirror<storage::v1::BundleBuild>>(
        *store_, kBundleFamily,
        [this](const std::string&, const storage::v1::BundleBuild* build) {
          if (build == nullptr) return;
          last_ = *build;
          if (build->commit_id() == waited_for_) loop_.Stop();
        },
        nullptr,
        [](const std::string& key) {
          const auto record = ClassifyBundleKey(key);
          return record.ok() && *record == BundleRecord::kBuild;
        });
    PutDocument();
    StartController();
  }
  ~Bench() {
    controller_.reset();
    builds_.reset();
    git_->CutAll();
    std::error_code ignored;
    fs::remove_all(base_, ignored);
  }

  void StartController() {
    controller_.reset();
    controller_.emplace(loop_, workers_, *store_,
                        FamilyWriter(*store_, kBundleFamily), *blobs_, *git_,
                        random_);
    // Until the mirrors are loaded.
    loop_.Post([this] { loop_.Post([this] { loop_.Stop(); }); });
    loop_.RunUntilStopped();
  }

  void ChangeOne(int version) {
    std::string stream = "commit refs/heads/master\n";
    Commit(absl::StrCat("change ", version), &stream);
    absl::StrAppend(&stream, "from refs/heads/master^0\n");
    AddFile("apps/group-0/app-0/file-1.yaml", FileText(0, 1, version),
            &stream);
    Import(stream);
  }

  FetchedCommit Fetch() {
    GitSource source;
    source.url = "file://" + base_ + "/origin";
    std::optional<absl::StatusOr<FetchedCommit>> fetched;
    git_->Fetch(source, [&](absl::StatusOr<FetchedCommit> commit) {
      fetched = std::move(commit);
      loop_.Stop();
    });
    loop_.RunUntilStopped();
    return OrDie(*std::move(fetched));
  }

  // From a fetched commit until its bundles are stored.
  double Store(const FetchedCommit& commit) {
    storage::v1::Source source;
    source.set_workspace(kWorkspace);
    source.set_name(kName);
    source.mutable_commit()->set_id(commit.id);
    source.set_tree_id(commit.tree_id);
    source.set_clone_id(commit.clone_id);
    source.set_document_generation(1);
    waited_for_ = commit.id;
    const absl::Time start = absl::Now();
    sources_->Txn({}, {Op::Put(SourceKey(kWorkspace, kName),
                               SerializeRecord(source))},
                  [](absl::StatusOr<int64_t> revision) {
                    OrDie(std::move(revision));
                  });
    loop_.RunUntilStopped();
    const double ms = absl::ToDoubleMilliseconds(absl::Now() - start);
    if (last_.problems_size() > 0 ||
        static_cast<int>(last_.bundle_count()) != bundles_) {
      std::cerr << "not built: " << last_.ShortDebugString() << std::endl;
      std::exit(2);
    }
    return ms;
  }

  // Walking and reading alone.
  double Read(const FetchedCommit& commit) {
    const absl::Time start = absl::Now();
    auto tree = OrDie(git_->OpenTree(commit.clone_id, commit.id));
    const BuildResult result = BuildBundles(*tree, Document());
    if (static_cast<int>(result.bundles.size()) != bundles_) std::exit(2);
    return absl::ToDoubleMilliseconds(absl::Now() - start);
  }

  size_t read_directories() const { return controller_->read_directories(); }

 private:
  static storage::v1::Document Document() {
    storage::v1::Document document;
    document.set_workspace(kWorkspace);
    document.set_kind("GitRepo");
    document.set_name(kName);
    document.set_generation(1);
    document.mutable_git_repo()->set_repo("file:///mono");
    return document;
  }

  void PutDocument() {
    documents_->Txn({}, {Op::Put(DocumentKey(kWorkspace, "GitRepo", kName),
                                 SerializeRecord(Document()))},
                    [this](absl::StatusOr<int64_t> revision) {
                      OrDie(std::move(revision));
                      loop_.Stop();
                    });
    loop_.RunUntilStopped();
  }

  static void Commit(const std::string& text, std::string* stream) {
    absl::StrAppend(stream, "committer A <a@example.com> 1700000000 +0000\n",
                    "data ", text.size(), "\n", text, "\n");
  }
  static void AddFile(const std::string& path, const std::string& text,
                      std::string* stream) {
    absl::StrAppend(stream, "M 100644 inline ", path, "\ndata ", text.size(),
                    "\n", text, "\n");
  }

  void MakeRepository() {
    const std::string command = absl::StrCat(
        "git init -q --bare -b master '", base_, "/origin'");
    if (std::system(command.c_str()) != 0) std::exit(2);
    std::string stream = "commit refs/heads/master\n";
    Commit("all", &stream);
    for (int b = 0; b < bundles_; ++b) {
      const std::string directory =
          absl::StrCat("apps/group-", b / 50, "/app-", b, "/");
      AddFile(directory + "fleet.yaml",
              absl::StrCat("namespace: app-", b, "\nlabels: {app: a", b,
                           "}\ntargetCustomizations:\n- name: prod\n"
                           "  clusterSelector: {matchLabels: {env: prod}}\n"
                           "  helm: {values: {replicas: 3}}\n"),
              &stream);
      for (int f = 1; f < files_; ++f) {
        AddFile(absl::StrCat(directory, "file-", f, ".yaml"),
                FileText(b, f, 0), &stream);
      }
    }
    Import(stream);
  }

  void Import(const std::string& stream) {
    const std::string command =
        absl::StrCat("git --git-dir='", base_, "/origin' fast-import --quiet");
    FILE* pipe = popen(command.c_str(), "w");
    if (pipe == nullptr ||
        std::fwrite(stream.data(), 1, stream.size(), pipe) != stream.size() ||
        pclose(pipe) != 0) {
      std::cerr << "git fast-import failed" << std::endl;
      std::exit(2);
    }
  }

  const int bundles_;
  const int files_;
  std::string base_;
  RealLoop loop_;
  ThreadWorkerPool workers_{loop_, 2};
  PosixClock clock_;
  PosixRandom random_;
  std::unique_ptr<SealedBox> box_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<DirectoryBlobStore> blobs_;
  std::unique_ptr<Libgit2Repository> git_;
  std::optional<FamilyWriter> documents_;
  std::optional<FamilyWriter> sources_;
  std::string waited_for_;
  storage::v1::BundleBuild last_;
  std::unique_ptr<TypedMirror<storage::v1::BundleBuild>> builds_;
  std::optional<BundleController> controller_;
};

int Run(int bundles, int files, double limit_ms) {
  Bench bench(bundles, files);
  std::printf("%d bundles, %d files, milliseconds\n", bundles,
              bundles * files);
  const FetchedCommit first = bench.Fetch();
  const double read = bench.Read(first);
  std::printf("%-44s %10.1f\n", "walk and read everything, nothing stored",
              read);
  const double whole = bench.Store(first);
  std::printf("%-44s %10.1f\n", "fetched commit to stored bundles", whole);
  for (int version = 1; version <= 3; ++version) {
    bench.ChangeOne(version);
    const FetchedCommit commit = bench.Fetch();
    const size_t before = bench.read_directories();
    const double changed = bench.Store(commit);
    std::printf("%-44s %10.1f  (%zu directories read)\n",
                "one file changed, to stored bundles", changed,
                bench.read_directories() - before);
  }
  if (limit_ms > 0 && whole > limit_ms) {
    std::printf("more than the limit of %.0f ms\n", limit_ms);
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace flotilla::manager

int main(int argc, char** argv) {
  int bundles = 1000;
  int files = 10;
  int limit_ms = 2000;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    int* value = nullptr;
    if (absl::ConsumePrefix(&argument, "--bundles=")) value = &bundles;
    if (absl::ConsumePrefix(&argument, "--files=")) value = &files;
    if (absl::ConsumePrefix(&argument, "--limit_ms=")) value = &limit_ms;
    if (value == nullptr || !absl::SimpleAtoi(argument, value)) {
      std::cerr << "unknown argument " << argv[i] << std::endl;
      return 2;
    }
  }
  return flotilla::manager::Run(bundles, files, limit_ms);
}
