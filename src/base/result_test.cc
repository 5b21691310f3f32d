#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace causeway {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return fail(EINVAL, "odd number");
  return value / 2;
}
Status check_positive(int value) {
  if (value <= 0) return fail(ERANGE, "not positive");
  return {};
}

TEST(Result, HoldsAValue) {
  Result<int> result = half(8);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(*result, 4);
}

TEST(Result, HoldsAnErrorWithCodeMessageAndPlace) {
  Result<int> result = half(7);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errno{EINVAL});
  EXPECT_STREQ(result.error().message, "odd number");
  EXPECT_EQ(result.error().return_value(), -EINVAL);
  EXPECT_NE(std::string(result.error().where.file_name()).find("result_test.cc"), std::string::npos);
  EXPECT_GT(result.error().where.line(), 0u);
}

TEST(Error, PrintsNameMessageFileAndLine) {
  Error error = fail(ENOMEM, "no free block of order 9").value();
  std::string line = std::to_string(error.where.line());
  EXPECT_EQ(to_string(error), "ENOMEM: no free block of order 9 (result_test.cc:" + line + ")");
}

TEST(Error, OfASystemCallTakesTheThreadsErrno) {
  errno = EMFILE;
  Error error = fail_with_errno("cannot open").value();
  EXPECT_EQ(error.code, Errno{EMFILE});
  EXPECT_STREQ(error.message, "cannot open");
}

TEST(Error, PassedOnKeepsThePlaceThatMadeIt) {
  Error first = fail(EIO, "bad page").value();
  Error second = fail(first).value();
  EXPECT_EQ(second.where.line(), first.where.line());
  EXPECT_EQ(second.code, Errno{EIO});
}

TEST(Errno, HasTheKernelsNames) {
  EXPECT_STREQ(name_of(Errno{ENOMEM}), "ENOMEM");
  EXPECT_STREQ(name_of(Errno{EOPNOTSUPP}), "EOPNOTSUPP");
  EXPECT_STREQ(name_of(Errno{99999}), "E?");
}

TEST(Errno, BecomesNegativeAtTheIoctlBorder) { EXPECT_EQ(to_return_value(Errno{EBUSY}), -EBUSY); }

TEST(Try, UnwrapsAValue) {
  auto quarter = [](int value) -> Result<int> { return CW_TRY(half(value)) / 2; };
  EXPECT_EQ(*quarter(8), 2);
}

TEST(Try, ReturnsTheErrorOfAnotherType) {
  auto text = [](int value) -> Result<std::string> { return std::to_string(CW_TRY(half(value))); };
  EXPECT_EQ(*text(6), "3");
  EXPECT_EQ(text(5).error().code, Errno{EINVAL});
}

TEST(Try, OfAStatusIsAStatement) {
  int steps = 0;
  auto run = [&](int value) -> Status {
    CW_TRY(check_positive(value));
    ++steps;
    return {};
  };
  EXPECT_TRUE(run(1));
  EXPECT_EQ(run(-1).error().code, Errno{ERANGE});
  EXPECT_EQ(steps, 1);
}

TEST(Try, MovesAMoveOnlyValueOut) {
  auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(5); };
  auto use = [&]() -> Result<int> {
    std::unique_ptr<int> owned = CW_TRY(make());
    return *owned;
  };
  EXPECT_EQ(*use(), 5);
}

TEST(Try, KeepsPointersAsTheyAre) {
  int target = 3;
  auto find = [&](bool there) -> Result<int*> {
    if (!there) return fail(ENOENT, "not there");
    return &target;
  };
  auto use = [&](bool there) -> Result<int*> {
    int* found = CW_TRY(find(there));
    *found += 1;
    return found;
  };
  EXPECT_EQ(*use(true), &target);
  EXPECT_EQ(target, 4);
  EXPECT_FALSE(use(false));
}

TEST(Try, NestsInItsOwnArgument) {
  auto eighth = [](int value) -> Result<int> { return CW_TRY(half(CW_TRY(half(CW_TRY(half(value)))))); };
  EXPECT_EQ(*eighth(24), 3);
  EXPECT_FALSE(eighth(12 + 8));
}

TEST(Try, CopiesFromANamedResult) {
  auto use = []() -> Result<size_t> {
    Result<std::vector<int>> named = std::vector<int>{1, 2, 3};
    std::vector<int> copy = CW_TRY(named);
    return copy.size() + named->size();
  };
  EXPECT_EQ(*use(), 6u);
}

TEST(Try, MovesFromANamedResultWhenTold) {
  auto use = []() -> Result<int> {
    Result<std::unique_ptr<int>> named = std::make_unique<int>(9);
    auto owned = CW_TRY(std::move(named));
    return *named == nullptr ? *owned : -1;
  };
  EXPECT_EQ(*use(), 9);
}

TEST(Try, TakesAConstResult) {
  auto use = []() -> Result<int> {
    const Result<int> named = 4;
    return CW_TRY(named);
  };
  EXPECT_EQ(*use(), 4);
}

TEST(Try, TakesTheOutcomeOfMap) {
  auto use = [](int value) -> Result<int> { return CW_TRY(half(value).map([](int n) { return n + 1; })); };
  EXPECT_EQ(*use(4), 3);
  EXPECT_FALSE(use(3));
}

TEST(Try, AcceptsCommasInItsExpression) {
  auto use = []() -> Result<int> { return CW_TRY(Result<int>{std::pair<int, int>(1, 2).second}); };
  EXPECT_EQ(*use(), 2);
}

TEST(Try, EvaluatesItsExpressionOnce) {
  int calls = 0;
  auto count = [&]() -> Result<int> { return ++calls; };
  auto use = [&]() -> Result<int> { return CW_TRY(count()); };
  EXPECT_EQ(*use(), 1);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace causeway
