/** A virtual authenticator in Chromium, in the place of the one of a phone or a laptop. */
import type { CDPSession, Page } from "@playwright/test";

export class Authenticator {
  readonly #cdp: CDPSession;
  readonly #id: string;

  private constructor(cdp: CDPSession, id: string) {
    this.#cdp = cdp;
    this.#id = id;
  }

  /** For the pages of this tab, also after a reload. With `prf`, its passkeys give secrets. */
  static async add({ page }: { page: Page }, { prf = true } = {}): Promise<Authenticator> {
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("WebAuthn.enable");
    const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
      options: {
        protocol: "ctap2",
        ctap2Version: "ctap2_1",
        transport: "internal",
        hasResidentKey: true,
        hasUserVerification: true,
        hasPrf: prf,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    return new Authenticator(cdp, authenticatorId);
  }

  /** Ids of its passkeys. */
  async passkeys(): Promise<string[]> {
    const { credentials } = await this.#cdp.send("WebAuthn.getCredentials", { authenticatorId: this.#id });
    return credentials.map(({ credentialId }) => credentialId);
  }

  /** Takes the authenticator away. */
  async remove(): Promise<void> {
    await this.#cdp.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: this.#id });
  }

  /** Forgets all of them. */
  async forget(): Promise<void> {
    await this.#cdp.send("WebAuthn.clearCredentials", { authenticatorId: this.#id });
  }

  /** From now on its user is not verified. After that it refuses for good. */
  async refuse(): Promise<void> {
    await this.#cdp.send("WebAuthn.setUserVerified", { authenticatorId: this.#id, isUserVerified: false });
  }
}
