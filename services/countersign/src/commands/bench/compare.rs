//! `bench compare`: whether the time of a comparison tells where two secrets first differ (RELIABILITY, J-10).
//!
//! Two kinds of wrong tokens take turns at random: one differs from the right one in its first character, the other in its last.
//! Welch's t says whether their times differ; below 4.5 nothing can be told from a million samples (dudect's threshold). Beside
//! them an ordinary comparison of bytes is measured: if that one does not show either, the machine is too noisy to tell.

use std::{hint::black_box, time::Instant};

use countersign_domain::{
    ids::DeliveryId,
    secrets::{LinkKey, equal_in_constant_time},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::CompareArgs;
use crate::console::say;

/// Above this, times differ.
const THRESHOLD: f64 = 4.5;
/// Bytes of the texts that are compared by themselves; long enough that an early end shows.
const BYTES: usize = 4_096;

/// What was measured: a t for each.
#[derive(Debug)]
struct Figures {
    proof: f64,
    secrets: f64,
    /// Of a comparison that is known to end early.
    control: f64,
}

impl Figures {
    /// Nothing, if the secrets' times tell nothing and the control shows that they would have been seen to.
    fn verdict(&self) -> anyhow::Result<()> {
        let secret = [("a token's proof", self.proof), ("secrets", self.secrets)];
        for (what, t) in secret {
            anyhow::ensure!(
                !differ(t),
                "the time of comparing {what} tells where they differ (t = {t:.2})"
            );
        }
        anyhow::ensure!(
            differ(self.control) && self.control.is_finite(),
            "nothing can be told: not even an ordinary comparison shows where texts differ (t = {:.2}); take more samples, or a machine that does nothing else",
            self.control
        );
        Ok(())
    }
}

/// Too few samples, of which no t can be made, prove nothing and count as if times differed.
fn differ(t: f64) -> bool {
    t.is_nan() || t.abs() >= THRESHOLD
}

/// Measures and tells. Fails when times differ, and when nothing can be told.
pub(super) fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let key = LinkKey::new(&[7; 32])?;
    let letter = DeliveryId::from_uuid(Uuid::from_u128(7));
    let token = key.bounce_token(letter, 1);
    // The proof is what stands behind the id and the generation, whose 20 bytes are 32 characters.
    let wrong = [changed(&token, 34), changed(&token, token.len() - 1)];
    let right = vec![b'a'; BYTES];
    let texts = [0, BYTES - 1].map(|at| {
        let mut text = right.clone();
        if let Some(byte) = text.get_mut(at) {
            *byte = b'b';
        }
        text
    });
    say(&format!("{} samples of each", args.samples));
    let told = |what: &str, work: &dyn Fn(usize) -> bool| {
        let t = measure(args, work);
        let verdict = if differ(t) {
            "THEY DIFFER"
        } else {
            "no difference"
        };
        say(&format!("{what:<42} t = {t:>8.2}  {verdict}"));
        t
    };
    let proof = told("a token's proof", &|kind| {
        key.read_bounce_token(&wrong[kind]).is_some()
    });
    let secrets = told("4096 bytes, as secrets are compared", &|kind| {
        equal_in_constant_time(&texts[kind], &right)
    });
    let control = told("4096 bytes, as nothing secret may be", &|kind| {
        texts[kind]
            .iter()
            .zip(&right)
            .all(|(one, other)| one == other)
    });
    Figures {
        proof,
        secrets,
        control,
    }
    .verdict()
}

fn changed(token: &str, at: usize) -> String {
    let mut bytes = token.as_bytes().to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte = if *byte == b'a' { b'b' } else { b'a' };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Welch's t of the times of both kinds, without the slowest tenth: those are the machine's own.
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds and counts are far below 2^52"
)]
fn measure(args: &CompareArgs, work: &dyn Fn(usize) -> bool) -> f64 {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..2 * args.samples {
        let kind = usize::from(rng.random::<bool>());
        let begun = Instant::now();
        black_box(work(black_box(kind)));
        let took = begun.elapsed().as_nanos() as f64;
        if let Some(times) = times.get_mut(kind) {
            times.push(took);
        }
    }
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let most = all.get(all.len() / 10 * 9).copied().unwrap_or(f64::MAX);
    let [one, other] = times.map(|times| {
        let kept: Vec<f64> = times.into_iter().filter(|it| *it <= most).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let spread = kept.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, spread / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fails_when_times_differ_and_when_the_control_shows_nothing() {
        let verdict = |proof, secrets, control| {
            let figures = Figures {
                proof,
                secrets,
                control,
            };
            figures
                .verdict()
                .map_err(|error| error.to_string())
                .err()
                .unwrap_or_default()
        };
        assert_eq!(verdict(0.3, -4.4, 800.0), "");
        assert_eq!(verdict(0.3, -4.4, -800.0), "");
        for (proof, secrets, control, word) in [
            (4.5, 0.0, 800.0, "token's proof"),
            (0.0, -9.0, 800.0, "comparing secrets"),
            (f64::NAN, 0.0, 800.0, "token's proof"),
            (0.0, 0.0, 4.4, "nothing can be told"),
            (0.0, 0.0, f64::NAN, "nothing can be told"),
        ] {
            let said = verdict(proof, secrets, control);
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn samples_that_are_too_few_to_tell_anything_are_a_failure() {
        let args = CompareArgs {
            samples: 1,
            seed: 1,
        };
        assert!(run(&args).is_err());
    }
}
