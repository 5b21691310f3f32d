// what: pairs of locks on the stacks of a recursion, taken in an order that depends on the depth: each pair has one order
// truth: N
// expect: silent
#include <mutex>
#include <thread>

#include "corpus.h"

__attribute__((noinline)) static int descend(int depth) {
  std::mutex first, second;
  if (depth % 2 == 0) {
    std::lock_guard one(first);
    std::lock_guard two(second);
    return depth == 0 ? 0 : 1 + descend(depth - 1);
  }
  std::lock_guard two(second);
  std::lock_guard one(first);
  return 1 + descend(depth - 1);
}

int main() {
  std::thread up([] {
    at_ms(10);
    descend(9);
  });
  std::thread down([] {
    at_ms(30);
    descend(8);
  });
  up.join();
  down.join();
  return 0;
}
