"""The environment of a process that computes. It only counts when it is set before the process
starts, which is why its parent does it."""

FOR_COMPUTING = {
    # Linux's C library (glibc) asks the system for each large temporary tensor anew, and every
    # fresh page costs a fault; with these they come from the heap and stay there: training on the
    # CPU is up to twice as fast. Other systems don't read them.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    # Threads that wait for one another sleep instead of spinning. Where other programs want the
    # same cores, linear layers were 5 to 17 times as fast.
    "OMP_WAIT_POLICY": "PASSIVE",
}
