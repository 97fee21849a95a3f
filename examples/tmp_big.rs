use rewake::exec::*;
use rewake::generate::Workload;
use rewake::machine::Registry;
use rewake::store::*;
use std::sync::Arc;
fn rss() -> u64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<u64>()
        .unwrap()
        / 1024
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let dir = DataDir::new(&a[2]);
    let reg = Registry::built_in();
    let t = std::time::Instant::now();
    match a[1].as_str() {
        "gen" => {
            let n: u64 = a[3].parse().unwrap();
            dir.create(&reg.find("ledger").unwrap().version()).unwrap();
            let w = Workload {
                accounts: 100_000,
                transfers: n,
                block_txs: 100,
                mempool: 1000,
                ..Workload::default()
            };
            let node = examine(&dir, &reg, Repairs::default()).unwrap();
            let mut i = Intake::new(&node, Arc::new(SystemClock));
            let mut lot = vec![];
            for e in w.events() {
                lot.push(e);
                if lot.len() == 10_000 {
                    i.append(std::mem::take(&mut lot)).unwrap();
                }
            }
            i.append(lot).unwrap();
            node.store.settle().unwrap();
        }
        _ => {
            let node = examine(&dir, &reg, Repairs::default()).unwrap();
            println!("examined {:?} rss {}", t.elapsed(), rss());
            let o = RecoveryOptions {
                commit: if a.len() > 3 && a[3] == "re" {
                    CommitMode::Reexecute
                } else {
                    CommitMode::Restore
                },
                gate: if a.len() > 4 { Gate::Batch } else { Gate::All },
                ..Default::default()
            };
            let (_, r) = Recovery::new(node, o).run().unwrap();
            println!("{}", serde_json::to_string(&r).unwrap());
        }
    }
    println!("{:?} rss {} MiB", t.elapsed(), rss());
}
