// A file that preflight takes for a kernel, and that dies as soon as it is started.
int main() { return 3; }
