// The base of the elements: rendered into the page itself, drawn again when a signal that they read changes.
import { LitElement } from 'lit';
import { effect } from '@preact/signals-core';

/** An element that draws its content anew. What the server wrote inside is replaced at the first drawing. */
export class LiveElement extends LitElement {
  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    if (!this.hasUpdated) this.replaceChildren();
    super.connectedCallback();
    if (this.hasUpdated) this.requestUpdate();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this._stop?.();
  }

  performUpdate() {
    if (!this.isUpdatePending) return;
    this._stop?.();
    let first = true;
    this._stop = effect(() => {
      if (first) {
        first = false;
        super.performUpdate();
      } else {
        this.requestUpdate();
      }
    });
  }
}

/** An element that keeps its content and only mirrors signals into its attributes. */
export class LiveFrame extends HTMLElement {
  connectedCallback() {
    this._stop = effect(() => this.mirror());
  }

  disconnectedCallback() {
    this._stop();
  }
}
