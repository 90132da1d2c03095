//! The machine under the devices: its processor and its memory.

use std::{fs, process::Command};

/// The processor, as it names itself.
pub(super) fn processor() -> String {
    let told = if cfg!(target_os = "macos") {
        sysctl("machdep.cpu.brand_string")
    } else {
        field("/proc/cpuinfo", "model name")
    };
    told.unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}

/// The machine's memory, in bytes.
pub(super) fn memory() -> Option<u64> {
    if cfg!(target_os = "macos") {
        return sysctl("hw.memsize")?.parse().ok();
    }
    let kilobytes = field("/proc/meminfo", "MemTotal")?;
    let kilobytes: u64 = kilobytes.strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// `2 threads`.
pub(super) fn threads(count: usize) -> String {
    match count {
        1 => "1 thread".to_owned(),
        _ => format!("{count} threads"),
    }
}

/// What a program prints, when it is there and succeeds.
pub(super) fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn sysctl(key: &str) -> Option<String> {
    output_of("sysctl", &["-n", key])
}

/// The value of the first line `key : value`.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(name, _)| name.trim() == key);
    values.next().map(|(_, value)| value.trim().to_owned())
}

/// What NVIDIA's tool tells about its GPU number `index`, as `library` counts them.
#[cfg(any(feature = "libtorch", feature = "cuda"))]
pub(super) fn nvidia(index: usize, library: &str) -> super::Description {
    let query = "--query-gpu=name,driver_version,memory.total";
    let told = output_of("nvidia-smi", &[query, "--format=csv,noheader,nounits"]);
    let told = told.unwrap_or_default();
    let variable = |name| std::env::var(name).unwrap_or_default();
    let visible = variable("CUDA_VISIBLE_DEVICES");
    let by_bus = variable("CUDA_DEVICE_ORDER") == "PCI_BUS_ID";
    nvidia_line(nvidia_row(&told, index, &visible, by_bus), index, library)
}

/// The row of CUDA's GPU number `index` among NVIDIA's tool's, which stand in the order of their
/// slots. CUDA's stand so only where the user says so, and else the fastest comes first: among
/// different GPUs nobody knows which it is.
#[cfg(any(feature = "libtorch", feature = "cuda"))]
fn nvidia_row<'a>(told: &'a str, index: usize, visible: &str, by_bus: bool) -> Option<&'a str> {
    let rows: Vec<&str> = told.lines().collect();
    let alike = rows.iter().all(|row| *row == rows[0]);
    match visible.split(',').nth(index).map(str::trim) {
        _ if alike => rows.first().copied(),
        _ if !by_bus => None,
        Some(id) if !id.is_empty() => rows.get(id.parse::<usize>().ok()?).copied(),
        _ => rows.get(index).copied(),
    }
}

/// A line such as `NVIDIA H200, 570.86.15, 143771`, with mebibytes last.
#[cfg(any(feature = "libtorch", feature = "cuda"))]
fn nvidia_line(line: Option<&str>, index: usize, library: &str) -> super::Description {
    let mut fields = line
        .into_iter()
        .flat_map(|line| line.split(','))
        .map(str::trim);
    let (name, driver, memory) = (fields.next(), fields.next(), fields.next());
    let driver = driver.map(|driver| format!(", driver {driver}"));
    super::Description {
        name: name.map_or_else(|| format!("NVIDIA GPU {index}"), str::to_owned),
        driver: format!("{library}{}", driver.unwrap_or_default()),
        memory: memory.and_then(|mib| Some(mib.parse::<u64>().ok()? << 20)),
        largest_buffer: None,
    }
}

#[cfg(test)]
mod tests {
    #[cfg(any(feature = "libtorch", feature = "cuda"))]
    #[test]
    fn a_gpu_is_looked_up_only_where_the_order_is_known() {
        let (same, mixed) = ("a\na", "a\nb\nc");
        let row = super::nvidia_row;
        assert_eq!(row(same, 1, "", false), Some("a"));
        assert_eq!(row(mixed, 1, "", false), None);
        assert_eq!(row(mixed, 1, "", true), Some("b"));
        assert_eq!(row(mixed, 1, "2, 0", true), Some("a"));
        assert_eq!(row(mixed, 0, "GPU-1f2e", true), None);
        assert_eq!(row("", 0, "", false), None);
    }

    #[cfg(any(feature = "libtorch", feature = "cuda"))]
    #[test]
    fn a_gpu_is_described_as_far_as_it_is_known() {
        let gpu = super::nvidia_line(Some("NVIDIA H200, 570.86.15, 143771"), 1, "libtorch 2.9.0");
        let line = "NVIDIA H200 (libtorch 2.9.0, driver 570.86.15)";
        assert_eq!(gpu.to_string(), line);
        assert_eq!(gpu.memory, Some(143_771 << 20));
        let unknown = super::nvidia_line(None, 1, "libtorch 2.9.0");
        assert_eq!(unknown.to_string(), "NVIDIA GPU 1 (libtorch 2.9.0)");
        assert_eq!(unknown.memory, None);
    }
}
