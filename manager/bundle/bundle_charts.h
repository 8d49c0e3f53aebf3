// SPDX-License-Identifier: Apache-2.0
//
// BundleCharts finds out which charts one bundle uses (spec 3.8): those to
// download become ChartNeeds, those in the bundle's directory are checked.
// Dependencies of the latter that are not there are copied when they lie
// elsewhere in the repository, and become needs when not; only those of charts
// that are used, not of every Chart.yaml that lies about. It blocks as FileTree
// does. Lives while one bundle is read.
//
// Thread-compatible.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_CHARTS_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_CHARTS_H_

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_content.h"
#include "manager/bundle/bundle_file_reader.h"
#include "manager/bundle/chart_needs.h"
#include "manager/bundle/problem_sink.h"
#include "manager/documents/deploy_fields.h"
#include "manager/documents/fleet_yaml.h"

namespace flotilla::manager {

// A target's helm block that does not say where its chart is has the root's
// (spec 2.3.1).
void InheritChart(FleetYaml& yaml);

class BundleCharts {
 public:
  // All must outlive it.
  BundleCharts(BundleFileReader& reader, BundleContent& content,
               ProblemSink& problems)
      : reader_(reader), content_(content), problems_(problems) {}
  BundleCharts(const BundleCharts&) = delete;
  BundleCharts& operator=(const BundleCharts&) = delete;

  // Notes the charts that `content.yaml` asks for; it was read from `file`.
  void TakeAll(const std::string& file);

  // Adds the dependencies of the charts that were noted.
  // REQUIRES: the files have been read and are sorted by name.
  void AddDependencies();

 private:
  // A chart in the bundle.
  struct LocalChart {
    std::string directory;  // In the bundle.
    std::string origin;     // In the tree.
    int depth = 0;          // Of being a dependency.
  };

  void Take(const std::string& file, const storage::v1::HelmOptions& helm,
            const OptionLines& lines);
  void TakeLocal(const std::string& file, const storage::v1::HelmOptions& helm,
                 const OptionLines& lines);
  // Of the chart in `chart`, a directory of the bundle, and of those in its
  // charts/.
  void AddDependenciesBelow(const std::string& chart);
  // Charts that come along with it are added to `todo`.
  void AddDependenciesOf(const LocalChart& chart,
                         std::vector<LocalChart>& todo);
  // A dependency that lies elsewhere in the repository ("file://../x").
  void CopyDependency(const std::string& chart_file, const LocalChart& chart,
                      const std::string& name, absl::string_view path,
                      std::vector<LocalChart>& todo);
  const ContentFile* FindFile(const std::string& name) const;
  bool HasDependency(const std::string& chart,
                     const std::string& dependency) const;

  // Not owned.
  BundleFileReader& reader_;
  BundleContent& content_;
  ProblemSink& problems_;

  // Directories of the bundle whose charts are used.
  std::set<std::string> used_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_CHARTS_H_
