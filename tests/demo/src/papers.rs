//! Keys and documents of everybody, all made by the agent's own commands.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::agent::{AGENT, Car, DEVICE, role, run};
use crate::story::{Asked, Company, Story};

/// The folder of all keys and documents.
pub(crate) struct Papers {
    folder: PathBuf,
}

impl Papers {
    /// Makes keys of the authority, the owner and the companies, and the bundle with all requests.
    pub(crate) fn new(folder: &Path, story: &Story) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let papers = Self { folder: folder.to_owned() };
        for name in ["root", "signing", "owner"] {
            papers.key("ed25519", name)?;
        }
        papers.glovebox(&["policy", "new", "signing-key", "--key", "signing.pub", "-o", "signing.json"])?;
        papers.sign("signing", "signing-key", "root", &[])?;
        for company in &story.companies {
            papers.request(company)?;
        }
        papers.bundle(story)?;
        Ok(papers)
    }

    /// A file of the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The car learns whom to trust, and what is asked for.
    pub(crate) fn install(&self, car: &Car) -> Result<()> {
        let path = |name: &str| self.file(name).display().to_string();
        car.run(&["provision", "--authority", &path("root.pub"), "--owner", &path("owner.pub")])?;
        car.run(&["policy", "install", &path("bundle.dsse")])?;
        Ok(())
    }

    /// The owner grants a company some of what it asks for. What the agent said about it.
    pub(crate) fn grant(&self, car: &Car, company: &Company) -> Result<String> {
        let key = self.file("owner.key").display().to_string();
        let mut arguments = vec![
            "consent",
            "grant",
            "--yes",
            "--recipient",
            company.id,
            "--purpose",
            company.purpose,
            "--key",
            &key,
        ];
        for asked in company.granted() {
            arguments.extend(["--signal", asked.path.as_str()]);
        }
        car.run(&arguments)
    }

    fn glovebox(&self, arguments: &[&str]) -> Result<String> {
        run(role(AGENT)?.args(arguments).current_dir(&self.folder))
    }

    fn key(&self, kind: &str, name: &str) -> Result<()> {
        self.glovebox(&["keys", "new", kind, "--out", name]).map(|_| ())
    }

    /// `NAME.json` to `NAME.dsse`.
    fn sign(&self, name: &str, kind: &str, key: &str, more: &[&str]) -> Result<()> {
        let (plain, key, signed) = (format!("{name}.json"), format!("{key}.key"), format!("{name}.dsse"));
        let sign = ["policy", "sign", &plain, "--type", kind, "--key", &key, "-o", &signed];
        self.glovebox(&[&sign, more].concat()).map(|_| ())
    }

    fn request(&self, company: &Company) -> Result<()> {
        let Company { id, purpose, words, batch_age_s, .. } = company;
        let (hpke, public, age) = (format!("{id}-hpke"), format!("{id}-hpke.pub"), batch_age_s.to_string());
        self.key("ed25519", id)?;
        self.key("x25519", &hpke)?;
        let plain = format!("{hpke}.json");
        self.glovebox(&["policy", "new", "hpke-key", "--recipient", id, "--key", &public, "-o", &plain])?;
        self.sign(&hpke, "hpke-key", id, &[])?;
        let (name, specs) = (format!("{id}-request"), company.asked.iter().map(Asked::spec));
        let out = format!("{name}.json");
        let mut arguments =
            vec!["policy", "new", "request", "--recipient", id, "--purpose", purpose, "--text", words];
        arguments.extend(["--batch-age", &age, "-o", &out]);
        let specs: Vec<String> = specs.collect();
        arguments.extend(specs.iter().flat_map(|spec| ["--signal", spec.as_str()]));
        self.glovebox(&arguments)?;
        self.sign(&name, "request", id, &[])
    }

    fn bundle(&self, story: &Story) -> Result<()> {
        let floors: Vec<Value> =
            story.companies.iter().flat_map(|c| &c.asked).filter_map(|a| floor(story, a)).collect();
        std::fs::write(self.file("catalogue.json"), serde_json::to_vec_pretty(&floors)?)?;
        let mut arguments: Vec<String> = [
            "policy",
            "new",
            "bundle",
            "--device",
            DEVICE,
            "--catalogue",
            "catalogue.json",
            "-o",
            "bundle.json",
        ]
        .map(str::to_owned)
        .to_vec();
        for Company { id, name, .. } in &story.companies {
            arguments.extend(["--recipient".to_owned(), format!("{id}:{name}:DE:{id}.pub:{id}-hpke.dsse")]);
            arguments.extend(["--request".to_owned(), format!("{id}-request.dsse")]);
        }
        if !story.is_vss {
            // The agent knows the categories of VSS only; who makes a bundle for other names says them.
            arguments.extend(["--category", "condition=*"].map(str::to_owned));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.glovebox(&arguments)?;
        self.sign("bundle", "bundle", "signing", &["--statement", "signing.dsse"])
    }
}

/// The catalogue's entry of a signal that has a floor.
fn floor(story: &Story, asked: &Asked) -> Option<Value> {
    let rate = asked.floor_rate.map(|ms| json!({ "op": "rate", "min_interval_ms": ms }));
    let step = asked.floor_step.map(|step| json!({ "op": "quantise", "step": step }));
    let floor: Vec<Value> = rate.into_iter().chain(step).collect();
    let category = if story.is_vss { "trips" } else { "condition" };
    (!floor.is_empty()).then(|| json!({ "signal": asked.path, "category": category, "floor": floor }))
}

/// The signals that the agent says it withholds, in its own words: the lines under the heading of what was refused.
pub(crate) fn withheld(words: &str) -> Result<Vec<String>> {
    let mut lines = words.lines().skip_while(|line| !line.starts_with("Asked for and not granted:"));
    let heading = lines.next();
    let refused = lines.map_while(|line| line.strip_prefix("  - ").map(str::to_owned)).collect();
    heading.map(|_| refused).context("the agent does not say what was not granted")
}

/// What the agent says may leave, in its own words.
pub(crate) fn granted(words: &str) -> Vec<String> {
    words.lines().filter_map(|line| line.strip_prefix("  + ").map(str::to_owned)).collect()
}
