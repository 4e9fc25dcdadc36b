package import ChallengeModel

/// The providers that Beckon can push with.
package enum PushProviders {
    /// One line for each provider. Everything else about a provider is in its folder.
    package static let all: [any PushProvider] = [
        APNs(),
        FCM(),
        HMS(),
    ]

    package static func provider(of platform: Platform) -> (any PushProvider)? {
        all.first { $0.platform == platform }
    }

    package static func provider(ofType word: String) -> (any PushProvider)? { all.first { $0.word == word } }

    /// The endpoints of all providers; each has a setting.
    package static let endpoints = all.flatMap(\.endpoints)

    /// Nil for a platform without a provider. Called for each push, so the lookup is by number.
    package static func traits(of platform: Platform) -> ProviderTraits? {
        let number = platform.rawValue
        return traitsByNumber.indices.contains(number) ? traitsByNumber[number] : nil
    }

    private static let traitsByNumber: [ProviderTraits?] = {
        var traits = [ProviderTraits?](repeating: nil, count: (all.map(\.platform.rawValue).max() ?? 0) + 1)
        for provider in all { traits[provider.platform.rawValue] = provider.traits }
        return traits
    }()

    /// - Throws: ``UnusableCredential``.
    package static func open(_ credential: ProviderCredential) throws -> any OpenCredential {
        guard let secret = credential.secret else { throw UnusableCredential("the credential contains no secret") }
        for provider in all {
            if let open = try provider.open(secret) { return open }
        }
        throw UnusableCredential("no known provider has a secret of this kind")
    }
}

extension Platform {
    /// The provider's name, or `none` for devices that get no pushes; nil for a platform without a provider.
    package var word: String? { self == .noPush ? "none" : PushProviders.provider(of: self)?.word }
}

extension PushOutcome {
    /// Adds cause and error code to the outcome of a refused push, in terms that do not depend on the provider. An
    /// outcome that has them, or whose push was not refused, is not changed.
    /// The dispatcher calls this for every outcome that it writes. Readers of outcomes call it again, for records of an
    /// older version that wrote neither.
    package mutating func explain() {
        switch disposition {
        case .rejected, .tokenDead, .credentialFault: break
        default: return
        }
        guard cause == .unspecified else { return }
        let provider = PushProviders.provider(of: platform)
        switch disposition {
        case .tokenDead: cause = .tokenDead
        case .credentialFault: cause = .credentialRefused
        default: cause = provider?.isTokenUnknown(reason) ?? false ? .tokenUnknown : .pushRefused
        }
        let failure = PushFailure(disposition: disposition, status: providerStatus, reason: reason)
        errorCode = platform == .noPush ? 52301 : provider?.errorCode(of: failure) ?? failure.unnamedCode
    }
}

extension PushFailure {
    /// The code for a provider without codes of its own.
    var unnamedCode: UInt32 { disposition == .tokenDead ? 52001 : 52000 }
}
