// what: a tree whose nodes are locked parent first, then child, wherever they lie in memory
// truth: N
// expect: silent
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "corpus.h"

struct Node {
  std::mutex lock;
  long value = 0;
  std::unique_ptr<Node> left, right;
};

static std::unique_ptr<Node> plant(int depth) {
  auto children = depth > 0 ? std::pair{plant(depth - 1), plant(depth - 1)} : std::pair<std::unique_ptr<Node>, std::unique_ptr<Node>>{};
  auto node = std::make_unique<Node>();
  node->left = std::move(children.first);
  node->right = std::move(children.second);
  return node;
}

static long add(Node& node, unsigned path) {
  std::lock_guard hold(node.lock);
  Node* next = (path & 1) ? node.right.get() : node.left.get();
  return ++node.value + (next ? add(*next, path >> 1) : 0);
}

int main() {
  std::unique_ptr<Node> root = plant(4);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&root, t] {
      at_ms(12 * t);
      for (unsigned path = 0; path < 16; ++path) add(*root, path * 5 + t);
    });
  for (std::thread& thread : threads) thread.join();
  return root->value == 64 ? 0 : 1;
}
