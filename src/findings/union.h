// What several runs of a program come to together: the circles that none of them closes alone.
//
//   Union all(past, symbols);
//   for (Finding& finding : all.findings()) ...
//
// Hops of two runs count as apart, unless it is seen that they could have met: one of the runs has both threads, neither before the
// other began, and neither run has seen both dependencies: if one has, what it says of them stands.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "dept/graph.h"
#include "dept/order.h"
#include "findings/past.h"
#include "findings/story.h"

namespace causeway::findings {

class Union {
 public:
  Union(Past& past, Symbols& symbols, const dept::Judge& judge = {});
  // Of hops of at least two runs; each once, at its highest level.
  std::vector<Finding> findings();

 private:
  void describe();
  void replay();
  dept::Frame frame(const Past::Place& place);
  uint64_t address(const Past::Place& place) const;
  dept::StackId stack(uint32_t number);

  static bool apart(const void* self, const dept::Witness& a, const dept::Witness& b);
  bool are_apart(uint32_t run_a, const Past::Fact& a, uint32_t run_b, const Past::Fact& b) const;
  bool has_seen(uint32_t run, const Past::Fact& fact) const;
  bool met(uint32_t run, uint32_t one, uint32_t other) const;
  bool is_apart_from_all(uint32_t run, const Past::Fact& fact, uint32_t role) const;

  Past& past_;
  dept::Arena arena_;
  dept::Order order_{arena_};
  std::unique_ptr<dept::Graph> graph_;
  Story story_;
  std::vector<dept::StackId> stacks_;
  std::unordered_map<uint64_t, std::pair<uint32_t, const Past::Fact*>> facts_;  // by Witness::hash
};

}  // namespace causeway::findings
