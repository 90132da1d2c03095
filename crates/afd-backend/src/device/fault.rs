//! What devices do when something goes wrong under way: they panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`, and turns a panic into its message.
///
/// # Errors
/// The message of the panic, without its backtrace.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        summary(text.unwrap_or("a panic without a message"))
    })
}

/// What a backend's message says happened, in one line; the rest of it says where.
///
/// Of a known [`Cause`] that is the line which tells it, of other messages how the last cause in
/// it begins.
pub fn summary(message: &str) -> String {
    // libtorch's lines come as a string within a string.
    let text = message.replace("\\n", "\n");
    let known = text.lines().find(|line| cause(line) == Cause::OutOfMemory);
    let root = text.rsplit("Caused by:\n").next().unwrap_or_default();
    let lines = known.map_or_else(|| root.lines().collect(), |line| vec![line]);
    let lines = lines
        .into_iter()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take_while(|line| !WHERE.iter().any(|start| line.starts_with(start)))
        .take(MOST_LINES);
    let line = lines.collect::<Vec<_>>().join(" ");
    let wrapped = line.split_once("on an `Err` value: ");
    let line = wrapped.map_or(line.as_str(), |(_, error)| error);
    line.trim_start_matches("Torch(\"").trim().to_owned()
}

/// Lines of a message without a known cause that are worth telling.
const MOST_LINES: usize = 6;

/// How lines begin after which a message only tells where it came from.
const WHERE: [&str; 4] = ["frame #", "Backtrace", "No backtrace", "Asked at"];

/// Why a device panicked, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The device, or the machine, has no memory left.
    OutOfMemory,
    /// The device went away: a reset by the driver, a fault that ended its context.
    DeviceLost,
    /// Something else.
    Unknown,
}

/// The cause that the message of a panic tells.
pub fn cause(message: &str) -> Cause {
    let message = message.to_lowercase();
    let tells = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    match () {
        () if tells(&OUT_OF_MEMORY) => Cause::OutOfMemory,
        () if tells(&DEVICE_LOST) => Cause::DeviceLost,
        () => Cause::Unknown,
    }
}

/// What libtorch, CubeCL, wgpu and the drivers below them say, in lower case.
const OUT_OF_MEMORY: [&str; 9] = [
    // libtorch: `CUDA out of memory. Tried to allocate …`, `CUDA error: out of memory`,
    // `MPS backend out of memory`; wgpu: `Out of Memory`.
    "out of memory",
    // libtorch on the CPU: `DefaultCPUAllocator: can't allocate memory: you tried to …` and
    // `DefaultCPUAllocator: not enough memory: you tried to …`; wgpu: `Not enough memory left.`
    "can't allocate memory",
    "not enough memory",
    // CubeCL: `out of device memory allocating 17 bytes`, `An out-of-memory error happened …`,
    // `can't allocate buffer of size: 17`, `Can't allocate 17 bytes: every page size …`.
    "out of device memory",
    "out-of-memory",
    "can't allocate",
    // wgpu: `Buffer size 17 is greater than the maximum buffer size (16)`.
    "greater than the maximum buffer size",
    // Vulkan's and CUDA's own names for it.
    "error_out_of_",
    "cublas_status_alloc_failed",
];

/// The same for devices that are gone.
const DEVICE_LOST: [&str; 5] = [
    // wgpu's and Vulkan's words, then CubeCL's.
    "device lost",
    "device was lost",
    "device is lost",
    "error_device_lost",
    "device was poisoned",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// libtorch on the CPU, through `tch`.
    const TORCH: &str = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at \
        alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to \
        allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)\\nframe #0: <unknown \
        function> + 0x9ec5e (0x7f37a4b7dc5e in libc10.so)\\n\")";

    /// CubeCL, when the result of what could not be computed is read.
    const CUBECL: &str = "Error while reading data: use `try_into_scalar` instead to catch the \
        error at runtime: Execution(An error happened during execution\nCaused by:\n  Several \
        failures at once\nCaused by:\n  The bytes were never written (failure #1, still claiming \
        3 buffer(s))\n  skipped `ReduceKernel`: it needed memory ManagedMemoryId { value: 333 }, \
        which carried the failure\nCaused by:\n  An IO error happened\nCaused by:\n  can't \
        allocate buffer of size: 6400000000\nNo backtrace available\nAsked at:\nNo backtrace \
        available)";

    #[test]
    fn what_backends_say_without_memory() {
        for message in [
            TORCH,
            CUBECL,
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of …",
            "CUDA error: out of memory",
            "An out-of-memory error happened during launch",
            "out of device memory allocating 1024 bytes",
            "wgpu error: Out of Memory",
            "Not enough memory left.",
            "Buffer size 8589934592 is greater than the maximum buffer size (4294967292)",
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
        ] {
            assert_eq!(cause(message), Cause::OutOfMemory, "{message}");
            assert_eq!(cause(&summary(message)), Cause::OutOfMemory, "{message}");
        }
    }

    #[test]
    fn other_causes() {
        let lost = "The device was poisoned during launch\nCaused by:\n  Unknown: device reset";
        assert_eq!(cause(lost), Cause::DeviceLost);
        for message in ["Parent device is lost", "VK_ERROR_DEVICE_LOST"] {
            assert_eq!(cause(message), Cause::DeviceLost, "{message}");
        }
        for message in [
            "index out of bounds: the len is 3",
            "a scoped thread panicked",
            "",
        ] {
            assert_eq!(cause(message), Cause::Unknown, "{message}");
        }
    }

    #[test]
    fn a_message_comes_down_to_one_line() {
        let torch = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't \
                     allocate memory: you tried to allocate 40000000000 bytes. Error code 12 \
                     (Cannot allocate memory)";
        assert_eq!(summary(TORCH), torch);
        assert_eq!(summary(CUBECL), "can't allocate buffer of size: 6400000000");
        let assertion = "assertion failed\n  left: 1\n right: 2";
        assert_eq!(summary(assertion), "assertion failed left: 1 right: 2");
        let burn = "=== Tensor Operation Error ===\n  Operation: 'Add'\n  Reason:\n    1. Shapes.";
        let told = "=== Tensor Operation Error === Operation: 'Add' Reason: 1. Shapes.";
        assert_eq!(summary(burn), told);
        let nested = "A\nCaused by:\n  B\nCaused by:\n  C\nBacktrace:\n  D";
        assert_eq!(summary(nested), "C");
        let long = "line\n".repeat(100);
        assert_eq!(summary(&long), "line ".repeat(MOST_LINES).trim());
        assert_eq!(summary(""), "");
    }

    #[test]
    fn a_panic_is_its_message() {
        assert_eq!(catch(|| 3), Ok(3));
        assert_eq!(catch(|| panic!("{CUBECL}")), Err::<(), _>(summary(CUBECL)));
    }
}
