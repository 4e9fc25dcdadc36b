import ArgumentParser
import ServiceSupport

/// `beckon completion`: the script that makes a shell complete Beckon's commands and flags.
struct CompletionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion",
        abstract: "Prints a completion script for bash, zsh or fish.",
        discussion: """
            bash: beckon completion bash > /etc/bash_completion.d/beckon
            zsh:  beckon completion zsh > "${fpath[1]}/_beckon"
            fish: beckon completion fish > ~/.config/fish/completions/beckon.fish
            """)

    enum ShellName: String, CaseIterable, ExpressibleByArgument {
        case bash, zsh, fish
    }

    @Argument(help: "The shell.") var shell: ShellName

    func run() throws { Terminal.line(Completion.script(for: shell)) }
}

/// ArgumentParser's script, with the flags of the roles: a role reads its flags from the table of settings, of which
/// ArgumentParser knows nothing.
enum Completion {
    static func script(for shell: CompletionCommand.ShellName) -> String {
        let shells: [CompletionCommand.ShellName: CompletionShell] = [.bash: .bash, .zsh: .zsh, .fish: .fish]
        var script = Beckon.completionScript(for: shells[shell] ?? .bash)
        for role in Role.allCases {
            let flags = Settings.all.filter { $0.roles.contains(role) && !$0.isSecret }
            switch shell {
            case .zsh: script = zsh(script, role.rawValue, flags)
            case .fish: script = fish(script, role.rawValue, flags)
            case .bash: script = bash(script, role.rawValue, flags)
            }
        }
        return script
    }

    /// The options of a command are in an array, which is empty for a role.
    private static func bash(_ script: String, _ role: String, _ flags: [SettingDescription]) -> String {
        let options = flags.map(\.flag).joined(separator: " ")
        return script.replacing(
            "    non_repeating_options=()", with: "    non_repeating_options=(\(options))",
            after: "\n_beckon_\(role)() {")
    }

    /// The options of a command are elements of an array, behind the positional arguments.
    private static func zsh(_ script: String, _ role: String, _ flags: [SettingDescription]) -> String {
        let specifications = flags.map { flag in
            "        '\(flag.flag)[\(zshText(flag.summary))]:\(zshText(flag.type)):\(zshValues(flag))'\n"
        }.joined()
        return script.replacing(
            "        '*:settings:'\n", with: "        '*:settings:'\n" + specifications, after: "\n_beckon_\(role)() {")
    }

    private static func zshValues(_ flag: SettingDescription) -> String { flag.type == "path" ? "_files" : "" }

    private static func zshText(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing(":", with: "\\:").replacing("[", with: "\\[")
            .replacing("]", with: "\\]").replacing("'", with: "'\\''")
    }

    /// The parser of the command's tokens must know which options have a value; each option has a line of its own.
    private static func fish(_ script: String, _ role: String, _ flags: [SettingDescription]) -> String {
        let names = flags.map { String($0.flag.dropFirst(2)) }
        let known = names.map { " '\($0)='" }.joined()
        let lines = zip(names, flags).map { name, flag in
            let summary = flag.summary.replacing("\\", with: "\\\\").replacing("'", with: "\\'")
            return "complete -c 'beckon' -n '__beckon_should_offer_completions_for_flags_or_options \"beckon \(role)\" "
                + "\(name)' -l '\(name)' -d '\(summary)' " + (flag.type == "path" ? "-rF" : "-rfka ''")
        }
        return script.replacing(
            "__beckon_parse_subcommand -r 1", with: "__beckon_parse_subcommand -r 1\(known)", after: "case '\(role)'\n")
            + "\n" + lines.joined(separator: "\n")
    }
}

extension String {
    /// Replaces the first `text` after the first `start`. A script without them stays as it is; a test looks for the
    /// flags of every role.
    fileprivate func replacing(_ text: String, with replacement: String, after start: String) -> String {
        guard let start = firstRange(of: start), let found = self[start.upperBound...].firstRange(of: text) else {
            return self
        }
        return replacingCharacters(in: found, with: replacement)
    }

    private func replacingCharacters(in range: Range<Index>, with replacement: String) -> String {
        String(self[..<range.lowerBound]) + replacement + String(self[range.upperBound...])
    }
}
