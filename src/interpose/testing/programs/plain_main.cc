// A program without threads or locks.
#include <stdio.h>

int main() { puts("hello"); }
