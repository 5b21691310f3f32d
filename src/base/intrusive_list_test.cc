#include "base/intrusive_list.h"

#include <gtest/gtest.h>

#include <iterator>
#include <vector>

namespace causeway {
namespace {

struct OtherTag;
struct Item : ListNode<>, ListNode<OtherTag> {
  explicit Item(int n) : number(n) {}
  int number;
};
using List = IntrusiveList<Item>;
using OtherList = IntrusiveList<Item, OtherTag>;

template <typename AnyList>
std::vector<int> numbers(AnyList& list) {
  std::vector<int> all;
  for (Item& item : list) all.push_back(item.number);
  return all;
}
template <typename AnyList>
void drain(AnyList& list) {
  while (list.pop_front() != nullptr) {
  }
}

TEST(IntrusiveList, NewListIsEmpty) {
  List list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.begin(), list.end());
  EXPECT_EQ(list.pop_front(), nullptr);
}

TEST(IntrusiveList, KeepsTheOrderOfInsertion) {
  Item one(1), two(2), three(3);
  List list;
  list.push_back(two);
  list.push_back(three);
  list.push_front(one);
  EXPECT_EQ(numbers(list), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(list.front().number, 1);
  EXPECT_EQ(list.back().number, 3);
  EXPECT_EQ(std::prev(list.end())->number, 3);
  drain(list);
}

TEST(IntrusiveList, PopFrontUnlinks) {
  Item one(1), two(2);
  List list;
  list.push_back(one);
  list.push_back(two);
  EXPECT_EQ(list.pop_front(), &one);
  EXPECT_FALSE(one.ListNode<>::is_linked());
  EXPECT_EQ(list.pop_front(), &two);
  EXPECT_TRUE(list.empty());
}

TEST(IntrusiveList, UnlinksFromTheMiddle) {
  Item one(1), two(2), three(3);
  List list;
  for (Item* item : {&one, &two, &three}) list.push_back(*item);
  two.ListNode<>::unlink();
  EXPECT_EQ(numbers(list), (std::vector<int>{1, 3}));
  drain(list);
}

TEST(IntrusiveList, UnlinkOfAnUnlinkedElementIsHarmless) {
  Item one(1);
  one.ListNode<>::unlink();
  EXPECT_FALSE(one.ListNode<>::is_linked());
}

TEST(IntrusiveList, ElementCanMoveBetweenLists) {
  Item one(1);
  List first, second;
  first.push_back(one);
  one.ListNode<>::unlink();
  second.push_back(one);
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(numbers(second), (std::vector<int>{1}));
  drain(second);
}

TEST(IntrusiveList, ElementCanBeInOneListPerTag) {
  Item one(1), two(2);
  List list;
  OtherList other;
  list.push_back(one);
  list.push_back(two);
  other.push_back(two);
  other.push_back(one);
  EXPECT_EQ(numbers(list), (std::vector<int>{1, 2}));
  EXPECT_EQ(numbers(other), (std::vector<int>{2, 1}));
  one.ListNode<>::unlink();
  EXPECT_EQ(numbers(other), (std::vector<int>{2, 1}));
  drain(list);
  drain(other);
}

#ifndef NDEBUG
TEST(IntrusiveListDeathTest, DestroyingALinkedElementAborts) {
  EXPECT_DEATH(
      {
        List list;
        Item one(1);
        list.push_back(one);
      },
      "is_linked");
}

TEST(IntrusiveListDeathTest, LinkingTwiceAborts) {
  EXPECT_DEATH(
      {
        List list;
        Item one(1);
        list.push_back(one);
        list.push_back(one);
      },
      "is_linked");
}
#endif

}  // namespace
}  // namespace causeway
