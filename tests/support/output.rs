use serde_json::Value;

/// What one run of vfadm said.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was typed, for messages of failed tests.
    pub line: String,
    /// The exit code; 128+N after signal N.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn of(line: String, out: &std::process::Output) -> Output {
        use std::os::unix::process::ExitStatusExt;
        let code = out.status.code().or(out.status.signal().map(|s| 128 + s)).unwrap_or(-1);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output { line, code, stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert_eq!(
            self.code, code,
            "exit code of `{}`\nstdout: {}\nstderr: {}",
            self.line, self.stdout, self.stderr
        );
        self
    }

    /// Insists on words in what was said to the administrator (stderr), in any order.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Output {
        for word in words {
            let found = self.stderr.contains(word);
            assert!(
                found,
                "`{}` does not say {word:?}\nstdout: {}\nstderr: {}",
                self.line, self.stdout, self.stderr
            );
        }
        self
    }

    /// Insists on words in the data (stdout).
    #[track_caller]
    pub fn prints(self, words: &[&str]) -> Output {
        for word in words {
            let found = self.stdout.contains(word);
            assert!(found, "`{}` does not print {word:?}\nstdout: {}", self.line, self.stdout);
        }
        self
    }

    /// Insists on a silent stderr.
    #[track_caller]
    pub fn quiet(self) -> Output {
        assert_eq!(self.stderr, "", "`{}` has something to say", self.line);
        self
    }

    /// stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| {
            panic!("`{}` printed no JSON: {e}\n{}\n{}", self.line, self.stdout, self.stderr)
        })
    }

    /// The error document on stderr.
    #[track_caller]
    pub fn error(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stderr)
            .unwrap_or_else(|e| panic!("`{}` gave no error document: {e}\n{}", self.line, self.stderr));
        document["error"].clone()
    }
}
