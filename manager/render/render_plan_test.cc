// SPDX-License-Identifier: Apache-2.0
//
// Plans with Kustomize and of charts that were downloaded; the others are in
// manifest_builder_test.cc, with what is made of them.

#include "manager/render/render_plan.h"

#include <string>
#include <utility>
#include <vector>

#include "flotilla/render/v1/render.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/render/render_input.h"
#include "manager/render/style.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

RenderInput Input(std::vector<RenderFile> files) {
  RenderInput input;
  input.bundle_name = "b";
  input.directory = "app";
  input.files = std::move(files);
  return input;
}

template <typename T>
std::vector<std::string> Names(const T& files) {
  std::vector<std::string> names;
  for (const render::v1::File& file : files) names.push_back(file.name());
  return names;
}

TEST(PlanKustomize, SendsTheWholeBundleAndTheFolder) {
  RenderInput input = Input({{"base/cm.yaml", "c"},
                             {"base/kustomization.yaml", "b"},
                             {"overlay/kustomization.yaml", "o"}});
  for (const char* dir : {"overlay", "./overlay/", "base/../overlay"}) {
    input.options.set_kustomize_dir(dir);
    const RenderPlan plan = PlanRender(input);
    ASSERT_TRUE(plan.request.has_value()) << dir;
    EXPECT_FALSE(plan.style.helm);
    EXPECT_TRUE(plan.style.kustomize);
    EXPECT_EQ(plan.request->kustomize().dir(), "overlay");
    // An overlay reads what lies beside it.
    EXPECT_THAT(Names(plan.request->kustomize().files()),
                ElementsAre("base/cm.yaml", "base/kustomization.yaml",
                            "overlay/kustomization.yaml"));
    EXPECT_THAT(plan.request->files(), IsEmpty());
    EXPECT_THAT(plan.raw_files, IsEmpty());
  }
}

TEST(PlanKustomize, FindsTheKustomizationOfTheRoot) {
  const RenderPlan plan =
      PlanRender(Input({{"cm.yaml", "c"}, {"kustomization.yaml", "k"}}));
  ASSERT_TRUE(plan.request.has_value());
  EXPECT_EQ(plan.request->kustomize().dir(), "");
  EXPECT_THAT(plan.raw_files, IsEmpty());
}

TEST(PlanKustomize, ComesAfterHelm) {
  RenderInput input = Input({{"Chart.yaml", "name: x"},
                             {"k/kustomization.yaml", "k"},
                             {"templates/cm.yaml", "c"}});
  input.options.set_kustomize_dir("k");
  const RenderPlan plan = PlanRender(input);
  EXPECT_TRUE(plan.style.helm);
  EXPECT_TRUE(plan.style.kustomize);
  EXPECT_THAT(plan.request->files(), SizeIs(3));
  EXPECT_EQ(plan.request->kustomize().dir(), "k");
}

TEST(PlanKustomize, SaysWhyItIsNotRun) {
  RenderInput wrong = Input({{"cm.yaml", "c"}, {"kustomization.yml", "k"}});
  RenderPlan plan = PlanRender(wrong);
  EXPECT_FALSE(plan.style.kustomize);
  ASSERT_THAT(plan.warnings, SizeIs(1));
  EXPECT_EQ(plan.warnings[0].file(), "app/kustomization.yml");

  RenderInput absent = Input({{"cm.yaml", "c"}});
  absent.options.set_kustomize_dir("nope");
  plan = PlanRender(absent);
  ASSERT_THAT(plan.warnings, SizeIs(1));
  EXPECT_THAT(plan.warnings[0].message(),
              HasSubstr("no file nope/kustomization.yaml"));

  for (const char* dir : {"../x", "/etc", "a/../.."}) {
    absent.options.set_kustomize_dir(dir);
    plan = PlanRender(absent);
    ASSERT_THAT(plan.problems, SizeIs(1)) << dir;
    EXPECT_THAT(plan.problems[0].message(), HasSubstr("leads out"));
    EXPECT_FALSE(plan.request.has_value());
  }
}

TEST(PlanKustomize, WarnsOfOverlaysThatMeanNothing) {
  RenderInput input = Input({{"kustomization.yaml", "k"}});
  input.options.add_yaml_overlays("dev");
  const RenderPlan plan = PlanRender(input);
  ASSERT_THAT(plan.warnings, SizeIs(1));
  EXPECT_THAT(plan.warnings[0].message(), HasSubstr("yaml.overlays"));
}

class DownloadedChart : public ::testing::Test {
 protected:
  DownloadedChart() {
    storage::v1::HelmOptions& helm = *input_.options.mutable_helm();
    helm.set_chart("web");
    helm.set_repo("https://charts.example.com");
    helm.set_version("~1");
    prefix_ = DownloadedChartPrefix(helm);
  }

  void Add(const std::string& name) { input_.files.push_back({name, "x"}); }

  RenderInput input_ = Input({{"values.yaml", "v"}});
  std::string prefix_;
};

TEST_F(DownloadedChart, IsWhatHelmRenders) {
  Add(prefix_ + "Chart.yaml");
  Add(prefix_ + "charts/sub/Chart.yaml");
  Add(prefix_ + "templates/a.yaml");

  const RenderPlan plan = PlanRender(input_);

  ASSERT_TRUE(plan.request.has_value());
  EXPECT_TRUE(plan.style.downloaded);
  EXPECT_EQ(plan.style.chart_directory, prefix_);
  EXPECT_THAT(Names(plan.request->files()),
              ElementsAre("Chart.yaml", "charts/sub/Chart.yaml",
                          "templates/a.yaml"));
}

TEST_F(DownloadedChart, MayLieOneFolderDown) {
  Add(prefix_ + "web/Chart.yaml");
  Add(prefix_ + "web/templates/a.yaml");
  EXPECT_EQ(PlanRender(input_).style.chart_directory, prefix_ + "web/");
}

TEST_F(DownloadedChart, OfAnotherTargetIsNotTaken) {
  Add(prefix_ + "Chart.yaml");
  input_.options.mutable_helm()->set_version("~2");
  const RenderPlan plan = PlanRender(input_);
  EXPECT_FALSE(plan.request.has_value());
  ASSERT_THAT(plan.problems, SizeIs(1));
  EXPECT_EQ(plan.problems[0].file(), "app/fleet.yaml");
  EXPECT_THAT(plan.problems[0].message(),
              HasSubstr("helm.chart \"web\" of https://charts.example.com, "
                        "version ~2, was not downloaded"));
}

TEST_F(DownloadedChart, IsNoneOfTheFilesForKustomize) {
  Add(prefix_ + "Chart.yaml");
  Add("kustomization.yaml");
  const RenderPlan plan = PlanRender(input_);
  EXPECT_TRUE(plan.style.helm);
  EXPECT_THAT(Names(plan.request->kustomize().files()),
              ElementsAre("values.yaml", "kustomization.yaml"));
}

TEST_F(DownloadedChart, OfOtherTargetsIsNoPartOfALocalOne) {
  input_.options.mutable_helm()->Clear();
  Add("Chart.yaml");
  Add(prefix_ + "Chart.yaml");
  const RenderPlan plan = PlanRender(input_);
  EXPECT_FALSE(plan.style.downloaded);
  EXPECT_THAT(Names(plan.request->files()),
              ElementsAre("values.yaml", "Chart.yaml"));
}

TEST_F(DownloadedChart, WinsOverAFolderOfItsName) {
  Add("web/Chart.yaml");
  Add(prefix_ + "Chart.yaml");
  EXPECT_EQ(PlanRender(input_).style.chart_directory, prefix_);
  // Without a repository helm.chart is a path.
  input_.options.mutable_helm()->clear_repo();
  EXPECT_EQ(PlanRender(input_).style.chart_directory, "web/");
}

}  // namespace
}  // namespace flotilla::manager
