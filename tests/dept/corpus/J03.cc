// what: a sort whose halves are threads of the same routine, which join their own halves
// truth: N
// expect: silent
#include <algorithm>
#include <mutex>
#include <thread>
#include <vector>

#include "corpus.h"

static std::mutex statistics;
static long parts;

static void sort(int* begin, int* end, int depth) {
  {
    std::lock_guard hold(statistics);
    ++parts;
  }
  if (depth == 0) {
    std::sort(begin, end);
    return;
  }
  int* middle = begin + (end - begin) / 2;
  std::thread left(sort, begin, middle, depth - 1);
  std::thread right(sort, middle, end, depth - 1);
  left.join();
  right.join();
  std::inplace_merge(begin, middle, end);
}

int main() {
  std::vector<int> numbers(4000);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int>(i * 7919 % 4001);
  sort(numbers.data(), numbers.data() + numbers.size(), 3);
  return std::is_sorted(numbers.begin(), numbers.end()) && parts == 15 ? 0 : 1;
}
