// SPDX-License-Identifier: Apache-2.0

#include "manager/render/overlays.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/render/render_input.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kConfigMap[] =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n";

RenderInput Input(std::vector<RenderFile> files,
                  const std::vector<std::string>& overlays) {
  RenderInput input;
  input.directory = "app";
  input.files = std::move(files);
  for (const std::string& overlay : overlays) {
    input.options.add_yaml_overlays(overlay);
  }
  return input;
}

// "name: bytes" of each file; `answer` is what the worker gives for each patch.
std::vector<std::string> Merge(const RenderInput& input,
                               const std::string& answer = "{}") {
  OverlayMerge merge(input);
  while (true) {
    const std::vector<render::v1::Patch> patches = merge.NextPatches();
    if (patches.empty()) break;
    render::v1::RenderResponse response;
    for (size_t i = 0; i < patches.size(); ++i) response.add_patched(answer);
    merge.TakePatched(response);
  }
  EXPECT_THAT(merge.problems(), IsEmpty()) << merge.problems()[0].message();
  std::vector<std::string> out;
  for (const RenderFile& file : merge.TakeFiles()) {
    out.push_back(absl::StrCat(file.name, ": ", file.bytes));
  }
  return out;
}

// "file:line message" of each problem.
std::string Problems(const RenderInput& input) {
  OverlayMerge merge(input);
  EXPECT_THAT(merge.NextPatches(), IsEmpty());
  std::vector<std::string> lines;
  for (const core::v1::Problem& problem : merge.problems()) {
    lines.push_back(absl::StrCat(problem.file(), ":", problem.line(), " ",
                                 problem.message()));
  }
  return absl::StrJoin(lines, "\n");
}

TEST(Overlays, ReplaceAndAddFiles) {
  const RenderInput input = Input({{"a.yaml", "a"},
                                   {"b/c.yaml", "c"},
                                   {"overlays/one/a.yaml", "1"},
                                   {"overlays/one/new.yaml", "n"},
                                   {"overlays/two/a.yaml", "2"},
                                   {"overlays/three/b/c.yaml", "3"}},
                                  {"one", "two"});

  // Later folders win; what is not named does not count.
  EXPECT_THAT(Merge(input),
              ElementsAre("a.yaml: 2", "b/c.yaml: c", "new.yaml: n"));
}

TEST(Overlays, SayWhereAFileCameFrom) {
  const RenderInput input =
      Input({{"a.yaml", "a"}, {"overlays/one/a.yaml", "1"}}, {"one"});
  OverlayMerge merge(input);
  EXPECT_THAT(merge.NextPatches(), IsEmpty());

  const std::vector<RenderFile> files = merge.TakeFiles();

  ASSERT_THAT(files, SizeIs(1));
  EXPECT_EQ(files[0].origin(), "overlays/one/a.yaml");
}

TEST(Overlays, ApplyListsAsJsonPatches) {
  const RenderInput input = Input(
      {{"a.yaml", kConfigMap},
       {"overlays/one/a_patch.yaml",
        "- {op: test, path: /data/a, value: '1'}\n"
        "- {op: add, path: /data/b, value: '2'}\n"
        "- {op: move, from: /data/a, path: /data/c}\n"}},
      {"one"});

  EXPECT_THAT(Merge(input),
              ElementsAre("a.yaml: {\"apiVersion\":\"v1\",\"data\":{\"b\":"
                          "\"2\",\"c\":\"1\"},\"kind\":\"ConfigMap\","
                          "\"metadata\":{\"name\":\"c\"}}\n"));
}

TEST(Overlays, HaveTheWorkerMergeMaps) {
  const RenderInput input =
      Input({{"a.yaml", absl::StrCat(kConfigMap, "---\nkind: Other\n")},
             {"overlays/one/a_patch.yaml",
              "kind: ConfigMap\nmetadata: {name: c}\ndata: {b: '2'}\n"}},
            {"one"});
  OverlayMerge merge(input);

  const std::vector<render::v1::Patch> patches = merge.NextPatches();

  ASSERT_THAT(patches, SizeIs(1));
  EXPECT_THAT(patches[0].original_json(), HasSubstr("\"data\":{\"a\":\"1\"}"));
  EXPECT_THAT(patches[0].patch_json(), HasSubstr("\"data\":{\"b\":\"2\"}"));
  render::v1::RenderResponse response;
  response.add_patched("{\"merged\":true}");
  merge.TakePatched(response);
  EXPECT_THAT(merge.NextPatches(), IsEmpty());
  const std::vector<RenderFile> files = merge.TakeFiles();
  ASSERT_THAT(files, SizeIs(1));
  // The other document stays as it is.
  EXPECT_EQ(files[0].bytes, "{\"merged\":true}\n---\n{\"kind\":\"Other\"}\n");
}

TEST(Overlays, PatchAFileOneAfterTheOther) {
  const RenderInput input = Input(
      {{"a.yaml", kConfigMap},
       {"overlays/one/a_patch.yaml", "data: {b: '2'}\n"},
       {"overlays/two/a_patch.yaml", "data: {c: '3'}\n"}},
      {"one", "two"});
  OverlayMerge merge(input);

  ASSERT_THAT(merge.NextPatches(), SizeIs(1));
  render::v1::RenderResponse response;
  response.add_patched("{\"first\":true}");
  merge.TakePatched(response);
  const std::vector<render::v1::Patch> second = merge.NextPatches();

  ASSERT_THAT(second, SizeIs(1));
  EXPECT_EQ(second[0].original_json(), "{\"first\":true}");
}

TEST(Overlays, NameThePatchThatTheWorkerCannotApply) {
  const RenderInput input =
      Input({{"a.yaml", kConfigMap},
             {"b.yaml", kConfigMap},
             {"overlays/one/a_patch.yaml", "data: {b: '2'}\n"},
             {"overlays/one/b_patch.yaml", "\n\ndata: {b: '2'}\n"}},
            {"one"});
  OverlayMerge merge(input);
  ASSERT_THAT(merge.NextPatches(), SizeIs(2));
  render::v1::RenderResponse response;
  response.mutable_error()->set_path("patches[1]");
  response.mutable_error()->set_message("does not fit");
  merge.TakePatched(response);

  EXPECT_THAT(merge.NextPatches(), IsEmpty());
  ASSERT_THAT(merge.problems(), SizeIs(1));
  EXPECT_EQ(merge.problems()[0].file(), "app/overlays/one/b_patch.yaml");
  EXPECT_EQ(merge.problems()[0].line(), 3);
  EXPECT_EQ(merge.problems()[0].message(), "does not fit");
}

TEST(Overlays, WarnOfAFolderThatIsNotThere) {
  const RenderInput input = Input({{"a.yaml", "a"}}, {"nope"});
  OverlayMerge merge(input);
  EXPECT_THAT(merge.NextPatches(), IsEmpty());
  ASSERT_THAT(merge.warnings(), SizeIs(1));
  EXPECT_THAT(merge.warnings()[0].message(), HasSubstr("overlays/nope/"));
}

struct Row {
  const char* overlay;
  const char* patch;
  const char* words;
};

class OverlayErrors : public ::testing::TestWithParam<Row> {};

TEST_P(OverlayErrors, AreSaidWithFileAndLine) {
  const RenderInput input =
      Input({{"a.yaml", kConfigMap},
             {"two.yaml", absl::StrCat(kConfigMap, "---\n", kConfigMap)},
             {"broken.yaml", "a: ["},
             {absl::StrCat("overlays/one/", GetParam().overlay),
              GetParam().patch}},
            {"one"});
  EXPECT_THAT(Problems(input), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Table, OverlayErrors,
    ::testing::Values(
        Row{"nope_patch.yaml", "a: 1", "nope_patch.yaml:1 there is no file"},
        Row{"a_patch.yaml", "a: [", "a_patch.yaml:1 the patch is not YAML"},
        Row{"a_patch.yaml", "text", "a_patch.yaml:1 a patch is a list"},
        Row{"a_patch.yaml", "- {op: add, path: /x, value: 1}\n- {op: fly}",
            "a_patch.yaml:2 operation 2 on a.yaml has no op"},
        Row{"a_patch.yaml", "- {op: add, path: /x}", "has no value"},
        Row{"a_patch.yaml", "- {op: copy, path: /x}", "has no from"},
        Row{"a_patch.yaml", "- {op: remove, path: /nope}",
            "(remove /nope) cannot be done"},
        Row{"a_patch.yaml", "- {op: test, path: /data/a, value: canary}",
            "fails: the value is another one"},
        Row{"two_patch.yaml", "- {op: add, path: /x, value: 1}",
            "needs a file with one document"},
        Row{"two_patch.yaml", "kind: ConfigMap\nmetadata: {name: c}",
            "2 of them have the patch's kind"},
        Row{"broken_patch.yaml", "a: 1", "app/broken.yaml:"}));

TEST(Overlays, NeverShowAValue) {
  const RenderInput input =
      Input({{"a.yaml", kConfigMap},
             {"overlays/one/a_patch.yaml",
              "- {op: test, path: /data/a, value: canary}"}},
            {"one"});
  EXPECT_THAT(Problems(input), ::testing::Not(HasSubstr("canary")));
}

TEST(Overlays, StayInTheirFolder) {
  for (const char* name : {"../x", "/x", "", "a/../.."}) {
    EXPECT_THAT(Problems(Input({{"a.yaml", "a"}}, {name})),
                HasSubstr("is no folder under overlays/"))
        << name;
  }
}

TEST(Overlays, DoublingEndsSoon) {
  std::string patch;
  for (int i = 0; i < 60; ++i) {
    absl::StrAppend(&patch, "- {op: copy, from: /data, path: /data/x", i,
                    "}\n");
  }
  EXPECT_THAT(Problems(Input({{"a.yaml", kConfigMap},
                              {"overlays/one/a_patch.yaml", patch}},
                             {"one"})),
              HasSubstr("is too much"));
}

TEST(Overlays, CopiesOfALargeTextEndSoon) {
  std::string copies;
  std::string moves;
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&copies, "- {op: copy, from: /t, path: /t", i, "}\n");
    absl::StrAppend(&moves, "- {op: move, from: /t", i == 0 ? "" : "x",
                    ", path: /tx}\n");
  }
  const std::string large = absl::StrCat("t: ", std::string(5 << 20, 't'));
  for (const std::string& patch : {copies, moves}) {
    EXPECT_THAT(Problems(Input({{"a.yaml", large},
                                {"overlays/one/a_patch.yaml", patch}},
                               {"one"})),
                HasSubstr("7 on a.yaml (")) << patch.substr(0, 20);
  }
}

TEST(Overlays, ThousandsOfOperationsOnALargeListEndSoon) {
  std::string list = "l:\n";
  for (int i = 0; i < 100'000; ++i) list += "- 1\n";
  std::string patch;
  for (int i = 0; i < 10'000; ++i) {
    patch += "- {op: add, path: /l/0, value: 1}\n";
  }
  EXPECT_THAT(Problems(Input({{"a.yaml", list},
                              {"overlays/one/a_patch.yaml", patch}},
                             {"one"})),
              HasSubstr("is too much"));
}

TEST(Overlays, NoOperationNestsADocumentWithoutEnd) {
  std::string add;
  std::string copy;
  std::string path;
  for (int i = 0; i < 120; ++i) {
    path += "/a";
    absl::StrAppend(&add, "- {op: add, path: ", path, ", value: {}}\n");
    absl::StrAppend(&copy, "- {op: copy, from: /b, path: /c/b}\n",
                    "- {op: copy, from: /c, path: /b/c}\n");
  }
  for (const std::string& patch : {add, copy}) {
    EXPECT_THAT(Problems(Input({{"a.yaml", "b: {}\nc: {}\n"},
                                {"overlays/one/a_patch.yaml", patch}},
                               {"one"})),
                HasSubstr("nest deeper than 100"));
  }
}

TEST(Overlays, NothingLiesBelowAScalar) {
  for (const char* operation :
       {"{op: add, path: /kind/x, value: 1}", "{op: remove, path: /kind/x}",
        "{op: copy, from: /data, path: /kind/x}",
        "{op: move, from: /data, path: /kind/x}",
        "{op: move, from: /data, path: /data/x}",
        "{op: remove, path: ''}"}) {
    EXPECT_THAT(Problems(Input({{"a.yaml", kConfigMap},
                                {"overlays/one/a_patch.yaml",
                                 absl::StrCat("- ", operation, "\n")}},
                               {"one"})),
                HasSubstr("cannot be done: its place is not there"))
        << operation;
  }
}

}  // namespace
}  // namespace flotilla::manager
